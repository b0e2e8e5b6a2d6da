"""Logs of frames, read in blocks of columns."""
