"""CAN databases: load, lint, compile to a signal table."""
