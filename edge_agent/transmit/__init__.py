"""What may be put on a bus of this gateway."""
