"""Plausible traffic for the messages of a database."""
