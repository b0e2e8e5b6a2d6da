"""Commands that look: how the agent stands, what is plugged in, why there is no data."""
