"""One start of a source within a direction: which of its positions are packets here, holes, or counts. Pure.

From `settled` up to `end` each position is in one row or in one stretch, so that whoever hands them out goes
from one to the next, and each costs the same however many wait.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import Final, TypeAlias

from msgspec import Struct, field

from can_stream.lanes.intervals import IntervalSet
from can_stream.protocol.relay_control import NotSent, Totals
from stream_server.relay.own_frames import others_from, runs
from stream_server.relay.stretches import Stretch, Stretches
from stream_server.relay.values import PASSED, StoredMark

MAX_MARKS: Final = 64
ROW_BYTES: Final = 350
"""About what a row takes in memory without its body."""
_SEQ: Final = attrgetter("seq")
_POSITION: Final = attrgetter("position")


class Row(Struct, eq=False):
    """A packet that is not settled from `first` on. `body` None: it has to be read from the recording.

    `is_stored`: its packet and its row are committed. `fresh`: it came live to this process, and was never
    offered. `is_gone`: it is not in its line any more. `came_ns`: when it came, to this process.
    """

    first: int
    through: int
    seq: int
    position: int
    born_ns: int | None
    body: bytes | None
    own: bytes = b""
    fresh: bool = False
    in_doubt: bool = False
    is_stored: bool = False
    is_gone: bool = False
    came_ns: int | None = None

    @property
    def others(self) -> int:
        """How many of its frames are part of a count."""
        return others_from(self.own, self.position, self.first, self.through)


Tile: TypeAlias = Row | Stretch


class Line(Struct, eq=False):
    """`handed`: what is below was handed on this connection. `exposed`: what is below was ever handed, so
    that a sink may have settled any part of it. `aged`: what is below counts already. `has_offered`: frames
    of it, not counts alone, were handed, the newest of them made at `offered_ns` at the latest, as far as is
    known. `waiting`: frames in rows, `others` of them part of a count.
    `unsaved`: rows by number whose row in storage is not as it is here.
    """

    start_id: str
    settled: int = 0
    end: int = 0
    handed: int = 0
    exposed: int = 0
    aged: int = 0
    has_offered: bool = False
    offered_ns: int = 0
    totals: Totals = Totals()
    rows: dict[int, Row] = field(default_factory=dict)
    stretches: Stretches = field(default_factory=Stretches)
    marks: list[StoredMark] = field(default_factory=list)
    unsaved: dict[int, Row] = field(default_factory=dict)
    deleted: IntervalSet = field(default_factory=IntervalSet)
    waiting: int = 0
    others: int = 0
    kept_bytes: int = 0
    version: int = 1
    stored_version: int = 0

    @property
    def was_sent(self) -> int:
        """How many of its frames its sink is known to have sent."""
        return self.totals.sent + self.totals.accepted

    # -- what it is made for

    def mark(self, seq: int, position: int, activation: str) -> None:
        """From this number and position on frames are made for this activation."""
        i = bisect_right(self.marks, seq, key=_SEQ)
        if i and self.marks[i - 1].seq == seq:
            i -= 1
            del self.marks[i]
        if i and self.marks[i - 1].activation == activation:
            return
        self.marks.insert(i, StoredMark(seq, position, activation))
        del self.marks[:-MAX_MARKS]
        self.version += 1

    def activation_of(self, seq: int) -> str:
        """What the packet of this number was made for; "": for none, or nobody knows."""
        if self.marks and self.marks[-1].seq <= seq:  # as of what is live
            return self.marks[-1].activation
        i = bisect_right(self.marks, seq, key=_SEQ)
        return self.marks[i - 1].activation if i else ""

    def activation_at(self, position: int) -> str:
        """What the frame at this position was made for."""
        i = bisect_right(self.marks, position, key=_POSITION)
        return self.marks[i - 1].activation if i else ""

    # -- what is where

    def tile(self, position: int) -> Tile | None:
        """The row that begins at this position, or the stretch it is in."""
        return self.rows.get(position) or self.stretches.at(position)

    def tiles(self, position: int) -> Iterator[Tile]:
        """Those from this position on."""
        while position < self.end and (tile := self.tile(position)) is not None:
            yield tile
            position = tile.through

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left that a sink has to settle."""
        return not self.rows and all(one.reason in PASSED for one in self.stretches)

    def put(self, stretch: Stretch) -> None:
        """Positions that are in nothing yet, or in a hole or of no activation so far."""
        first = max(stretch.first, self.settled)
        if first >= stretch.through:
            return
        self.stretches.take_out(first, stretch.through)
        stretch.first = first
        if stretch.reason not in PASSED:
            stretch.frames = min(stretch.frames, stretch.through - first)
        self.stretches.put(stretch, self.exposed)
        self.end = max(self.end, stretch.through)
        self.version += 1

    def put_row(self, row: Row) -> None:
        """A packet where a hole was, or behind the end."""
        if row.first < self.end:
            self.stretches.take_out(row.first, row.through)
        self.rows[row.first] = row
        self.waiting += row.through - row.first
        self.others += row.others
        self.unsaved[row.seq] = row
        self.end = max(self.end, row.through)
        self.version += 1

    # -- what becomes of it

    def count(self, tile: Tile, reason: NotSent) -> None:
        """A row or a hole becomes a count. Own echoes and error frames are in none."""
        if isinstance(tile, Stretch):
            self.put(Stretch(tile.first, tile.through, tile.frames, reason, None, tile.fresh, tile.in_doubt))
            return
        self._take_out(tile)
        was_exposed = tile.first < self.exposed
        whole = [(tile.first, tile.through, tile.others)]
        for first, through, frames in _split(tile) if was_exposed and tile.own else whole:
            made = Stretch(first, through, frames, reason, None, tile.fresh, tile.in_doubt)
            self.stretches.put(made, self.exposed)
        self.version += 1

    def count_all(self, reason: NotSent) -> None:
        """Every row and hole becomes a count."""
        holes = [one for one in self.stretches if one.reason == "hole"]
        rows = list(self.rows.values())
        tiles: list[Tile] = [*rows, *holes]
        for tile in tiles:
            self.count(tile, reason)

    @property
    def oldest(self) -> Tile | None:
        """The first row or hole, which is no count yet."""
        for tile in self.tiles(self.aged):
            if isinstance(tile, Row) or tile.reason == "hole":
                return tile
        return None

    def hand(self, through: int) -> None:
        """What is below is handed."""
        self.handed = through
        self.exposed = max(self.exposed, through)

    def settle(self, position: int) -> None:
        """All below is settled, also where it is not known yet."""
        while self.settled < min(position, self.end):
            tile = self.tile(self.settled)
            if tile is None:
                break
            self._cut(tile, position)
            self.settled = min(position, tile.through)
        self.settled = max(self.settled, position)
        self.end = max(self.end, self.settled)
        self.handed = max(self.handed, self.settled)
        self.aged = max(self.aged, self.settled)
        self.version += 1

    def _cut(self, tile: Tile, position: int) -> None:
        if isinstance(tile, Stretch):
            self.stretches.take_out(tile.first, min(position, tile.through))
        elif tile.through <= position:
            self._take_out(tile)
        else:
            self.waiting -= position - tile.first
            self.others -= tile.others
            del self.rows[tile.first]
            tile.first = position
            self.others += tile.others
            self.rows[position] = tile

    def _take_out(self, row: Row) -> None:
        del self.rows[row.first]
        self.waiting -= row.through - row.first
        self.others -= row.others
        self.unsaved.pop(row.seq, None)
        self.drop_body(row)
        row.is_gone = True
        if row.is_stored:
            self.deleted.add(row.seq, row.seq)

    # -- bytes in memory

    @property
    def held_bytes(self) -> int:
        """About what it takes, without bodies that are not committed: those are the recorder's."""
        return self.kept_bytes + ROW_BYTES * (len(self.rows) + len(self.stretches))

    def drop_body(self, row: Row) -> None:
        """A packet that is in the recording is read from there when it is needed."""
        if row.is_stored and row.body is not None:
            self.kept_bytes -= len(row.body)
            row.body = None

    def keep_body(self, row: Row, body: bytes) -> None:
        """It has been read."""
        self.drop_body(row)
        self.kept_bytes += len(body)
        row.body = body

    def doubt_all(self) -> None:
        """Another is served from now on: whatever may have been offered to one before is in doubt."""
        for row in self.rows.values():
            if not row.fresh and not row.in_doubt:
                row.in_doubt = True
                self.unsaved[row.seq] = row
        doubted = [one for one in self.stretches if one.reason not in PASSED and not one.fresh]
        for one in doubted:
            one.in_doubt = True
        self.version += 1


def _split(row: Row) -> Iterator[tuple[int, int, int]]:
    """Runs of what counts and what does not: a sink may have settled any part of what it was handed."""
    for first, through, is_own in runs(row.own, row.position, row.first, row.through):
        yield first, through, 0 if is_own else through - first


def hole(first: int, through: int, born_ns: int | None, *, in_doubt: bool) -> Stretch:
    """Frames that have not come."""
    return Stretch(first, through, through - first, "hole", born_ns, False, in_doubt)


def too_late(first: int, through: int, born_ns: int | None, *, in_doubt: bool) -> Stretch:
    """Frames that have not come, and would be out of order if they did."""
    return Stretch(first, through, through - first, "too_old", born_ns, False, in_doubt)


def own_alone(first: int, through: int) -> Stretch:
    """Own echoes and error frames alone."""
    return Stretch(first, through, 0, "own")


def out(first: int, through: int) -> Stretch:
    """Frames that were made for no activation that counts."""
    return Stretch(first, through, 0, "out")
