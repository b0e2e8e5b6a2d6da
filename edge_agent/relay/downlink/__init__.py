"""The connection /ws/relay, by which a server hands over what is to be put on a bus."""
