"""What the edge agent and the stream server share; neither of them is imported here."""
