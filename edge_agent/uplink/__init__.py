"""The way to the server: who the agent is, two connections, what they cost."""
