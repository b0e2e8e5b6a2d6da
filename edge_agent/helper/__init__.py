"""What the agent has done for it that needs a privilege: one small program, one request."""
