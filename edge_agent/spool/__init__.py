"""The disk queue of what the server has not acknowledged."""
