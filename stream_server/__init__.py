"""The server that agents stream to and people watch."""
