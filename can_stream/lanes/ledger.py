"""What an agent knows of the starts of one lane: how far each came, and what of it was acknowledged."""

from __future__ import annotations

from collections.abc import Iterable

from can_stream.lanes.held import Held
from can_stream.lanes.intervals import IntervalSet
from can_stream.protocol.lanes_control import MAX_STARTS, LedgerEntry


class Ledger:
    """This start's own books, and those of the earlier starts that the lane's file names, oldest first.

    It never says more acknowledged than was: a server that has less is taken for one that was restored. An
    older copy of the file, put in its place, lists again what was acknowledged since, and has its own rows
    and those that were moved there twice.
    """

    def __init__(self, start_id: str) -> None:
        self.start_id = start_id
        self.acknowledged_frames = 0
        self._earlier: dict[str, LedgerEntry] = {}
        self._counted: dict[str, int] = {}  # what the file that is most behind said, and acks since
        self._positions: dict[str, IntervalSet] = {}  # acknowledged to this process
        self._written: dict[str, LedgerEntry] = {}

    def read(self, entries: Iterable[LedgerEntry]) -> None:
        """What the file says of earlier starts; one that comes back after another may be behind."""
        for entry in entries:
            if entry.start_id != self.start_id:
                self._written[entry.start_id] = entry
                known = self._earlier.get(entry.start_id, entry)
                self._earlier[entry.start_id] = max(known, entry, key=lambda one: one.acknowledged)
                counted = self._counted.get(entry.start_id, entry.acknowledged)
                self._counted[entry.start_id] = min(counted, entry.acknowledged)

    def acknowledged(self, held: Held) -> None:
        """The server has this packet."""
        start_id, first, frames = held.number.start_id, held.position, held.data_frames
        if frames and first is not None and start_id != self.start_id:
            known = self._positions.setdefault(start_id, IntervalSet())
            new = known.missing(first, first + frames - 1)
            known.add(first, first + frames - 1)
            frames = sum(last - first + 1 for first, last in new)
        self.add_acknowledged(start_id, frames)

    def add_acknowledged(self, start_id: str, frames: int) -> None:
        """The server has so many more frames of this start."""
        if start_id == self.start_id:
            self.acknowledged_frames += frames
        elif (entry := self._earlier.get(start_id)) is not None:
            self._counted[start_id] += frames
            acknowledged = min(entry.frames, max(entry.acknowledged, self._counted[start_id]))
            self._earlier[start_id] = LedgerEntry(start_id, entry.last_seq, entry.frames, acknowledged)

    def entries(self, last_seq: int, frames: int) -> list[LedgerEntry]:
        """All that a hello has room for, the newest; the last is this start, which has come this far."""
        own = LedgerEntry(self.start_id, last_seq, frames, min(frames, self.acknowledged_frames))
        return [*list(self._earlier.values())[1 - MAX_STARTS :], own]

    def changed(self, last_seq: int, frames: int) -> list[LedgerEntry]:
        """What the file does not say yet."""
        return [one for one in self.entries(last_seq, frames) if self._written.get(one.start_id) != one]

    def written(self, entries: Iterable[LedgerEntry]) -> None:
        """The file says this."""
        self._written.update((entry.start_id, entry) for entry in entries)

    def not_written(self) -> None:
        """There is another file, which says nothing yet."""
        self._written.clear()
