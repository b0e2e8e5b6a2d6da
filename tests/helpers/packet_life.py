"""A packet's life at an agent as a table, to be drawn and to be held against the lanes."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Life(StrEnum):
    """Where a packet is between its making and the server's ack."""

    NOWHERE = "[*]"  # not made yet
    WAITING = "waiting"  # in memory, be it on disk too; not sent on this connection
    ON_ITS_WAY = "on its way"  # sent from memory
    ON_DISK = "on disk"  # there alone, or read back and not sent yet
    ON_ITS_WAY_FROM_DISK = "on its way from disk"
    ACKNOWLEDGED = "acknowledged"  # the server has recorded it; its row is deleted with the next ones
    GAP = "a gap"  # one of its number, or of a later one too, waits and goes in its place


# From, event, to. Written is what one transaction has stored; a connection that ends leaves to the disk what
# it has already, and the rest in memory.
TRANSITIONS: Final = (
    (Life.NOWHERE, "made", Life.WAITING),
    (Life.WAITING, "sent", Life.ON_ITS_WAY),
    (Life.WAITING, "written", Life.ON_DISK),
    (Life.WAITING, "connection lost", Life.ON_DISK),
    (Life.WAITING, "server had it", Life.ACKNOWLEDGED),
    (Life.WAITING, "window full", Life.GAP),
    (Life.ON_ITS_WAY, "ack", Life.ACKNOWLEDGED),
    (Life.ON_ITS_WAY, "connection lost", Life.WAITING),
    (Life.ON_ITS_WAY, "connection lost", Life.ON_DISK),
    (Life.ON_ITS_WAY, "window full", Life.GAP),
    (Life.ON_DISK, "sent", Life.ON_ITS_WAY_FROM_DISK),
    (Life.ON_DISK, "server had it", Life.ACKNOWLEDGED),
    (Life.ON_DISK, "spool full", Life.GAP),
    (Life.ON_ITS_WAY_FROM_DISK, "ack", Life.ACKNOWLEDGED),
    (Life.ON_ITS_WAY_FROM_DISK, "connection lost", Life.ON_DISK),
    (Life.ON_ITS_WAY_FROM_DISK, "spool full", Life.GAP),
)
WITHOUT_DISK: Final = frozenset(
    one for one in TRANSITIONS if not {one[0], one[2]} & {Life.ON_DISK, Life.ON_ITS_WAY_FROM_DISK}
)
