"""Frames that are in a driver still, though whoever wrote them is gone."""
