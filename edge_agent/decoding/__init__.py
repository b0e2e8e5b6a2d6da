"""Frames decoded by a signal table, and which of the values are worth telling."""
