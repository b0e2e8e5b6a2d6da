"""Signal tables, and the last value of every signal."""
