"""Streams to whoever listens."""
