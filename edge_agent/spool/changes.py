"""What the spool's file is given in one transaction, and when; no SQLite in here."""

from __future__ import annotations

from msgspec import Struct, field

from can_stream.lanes.backlog import Stretch
from can_stream.protocol.lanes_control import LedgerEntry
from edge_agent.lanes.disk_backlog import SpoolRow

LaneKey = tuple[str, str]
"""Dongle and lane."""
KeptEntry = tuple[LaneKey, LedgerEntry]
"""Of which lane, and what its ledger says of one start."""


class Moment(Struct, frozen=True):
    """When and in which boot: `wall_ms` None where the wall clock cannot be believed."""

    boot_id: str
    monotonic_seconds: float
    wall_ms: int | None

    @property
    def boot_wall_ms(self) -> int | None:
        """The wall clock when the monotonic one was 0."""
        return None if self.wall_ms is None else self.wall_ms - int(self.monotonic_seconds * 1000)


class Changes(Struct):
    """One transaction: packets to put in (over what has the same row), what goes, what to remember.

    `is_last`: nothing is written after it.
    """

    puts: list[tuple[LaneKey, SpoolRow]] = field(default_factory=list)
    deletes: list[int] = field(default_factory=list)
    delete_stretches: list[tuple[LaneKey, Stretch]] = field(default_factory=list)
    ledger: list[KeptEntry] = field(default_factory=list)
    is_last: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to write; the ledger alone is not worth it."""
        return bool(self.puts or self.deletes or self.delete_stretches)

    @property
    def grows(self) -> bool:
        """Whether the file may get larger for it: packets come, and none goes. What is written last, when the
        agent ends, would be lost otherwise."""
        goes = self.deletes or self.delete_stretches or self.is_last
        return not goes and any(row.gap is None for _, row in self.puts)
