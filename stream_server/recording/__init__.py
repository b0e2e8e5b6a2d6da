"""Packets as received, in storage: the ack means that they are there."""
