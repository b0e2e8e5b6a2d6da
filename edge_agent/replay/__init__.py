"""Logs played to a server, a bus or a terminal."""
