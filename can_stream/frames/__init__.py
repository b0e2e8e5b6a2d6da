"""Frames as columns: the unit of work from the driver to the browser."""
