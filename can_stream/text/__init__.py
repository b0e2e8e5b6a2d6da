"""Frames and values as text: candump lines, JSON, CSV."""
