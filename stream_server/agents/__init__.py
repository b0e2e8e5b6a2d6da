"""Connections of agents: what they say, and the packets they bring."""
