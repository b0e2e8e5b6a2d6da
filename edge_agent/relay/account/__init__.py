"""What became of frames and what frames wait for, for whoever reads it."""
