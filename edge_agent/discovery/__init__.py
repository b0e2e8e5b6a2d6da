"""What is seen for the first time."""
