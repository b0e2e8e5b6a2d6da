"""What of a waiting frame does not change, found once."""
