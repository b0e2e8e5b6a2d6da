"""Gateways and their server in bad times: what happens to them, and an account of every frame."""
