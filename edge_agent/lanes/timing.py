"""How `spool.flush_seconds`, counted from a frame's arrival, is shared out."""

from __future__ import annotations

from edge_agent.config.sections import SpoolSection


def reading_seconds(section: SpoolSection) -> float:
    """How long frames may wait in a driver."""
    return section.flush_seconds * 0.2


def patience_seconds(section: SpoolSection) -> float:
    """How long, once read, they may wait for the server's ack; the rest is for writing."""
    return section.flush_seconds * 0.6
