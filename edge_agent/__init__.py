"""The agent on the gateway."""
