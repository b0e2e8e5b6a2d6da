"""What a server has handed over and the bus has not taken yet, in the order it came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.errors import SessionError
from can_stream.protocol.relay_items import Counts
from edge_agent.relay.account.hop_ages import Arrival
from edge_agent.transmit.policy import TargetBus

# Rows of counts between frames: credit bounds the frames, and one row may stand between any two.
MAX_ENTRIES: Final = 8_192


class Rows(Struct, eq=False):
    """What of an item's frames does not change while they wait, from `position` on; nothing is known where
    `target` is None. Plain lists: a burst is too short for columns.

    `codes`: what `judging` makes of each for the bus `target`. `ids`, `keys`: by `id_keys`, `frame_keys`.
    """

    position: int = 0
    target: TargetBus | None = None
    codes: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)


class WaitingItem(Struct, frozen=True):
    """Frames of one start from `position` on. `born_ns`: when the oldest may have been read, at the earliest,
    on this machine's CLOCK_BOOTTIME; None: not known. `fresh`: never offered to anybody before. `arrival`:
    for the figures alone. `from_log`: no bus gave them, a log is played. `rows`: what is found of its frames,
    for as long as some of them wait."""

    start_id: str
    position: int
    frames: FrameBatch
    born_ns: int | None
    fresh: bool
    arrival: Arrival | None = None
    from_log: bool = False
    rows: Rows = field(default_factory=Rows)

    @property
    def end(self) -> int:
        """The position behind it."""
        return self.position + len(self.frames)


class Waiting:
    """At most `room` frames wait for long, and one item more."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._is_open = False
        self._entries: deque[WaitingItem | Counts] = deque()
        self._handed = self._passed = 0

    @property
    def credit(self) -> int:
        """So many frames may be handed in all since the last `clear`."""
        return self._passed + self._room

    @property
    def head(self) -> WaitingItem | Counts | None:
        """What is next."""
        return self._entries[0] if self._entries else None

    def clear(self, *, is_open: bool) -> None:
        """Nothing waits, and credit begins anew. `is_open`: whether anything may come."""
        self._is_open = is_open
        self._entries.clear()
        self._handed = self._passed = 0

    def add(self, item: WaitingItem) -> None:
        """Raises SessionError beyond the credit. The last item may go beyond it, for none is divided."""
        self._refuse_closed()
        if self._handed >= self.credit:
            raise SessionError(f"{self._handed} frames are handed already, {self.credit} may be")
        self._handed += len(item.frames)
        if len(item.frames):
            self._append(item)

    def add_counts(self, counts: Counts) -> None:
        """Rows that follow each other for one reason are one. Raises SessionError for too many of them."""
        self._refuse_closed()
        last = self._entries[-1] if self._entries else None
        if isinstance(last, Counts) and _follows(last, counts):
            frames = last.frames + counts.frames
            self._entries[-1] = replace(last, through=counts.through, frames=frames)
        else:
            self._append(counts)

    def pop_counts(self) -> None:
        """The row of counts at the head is settled."""
        self._entries.popleft()

    def cut(self, start_id: str, through: int) -> None:
        """What is at the head and lies below this position of this start waits no more."""
        while isinstance(item := self.head, WaitingItem) and item.start_id == start_id:
            rows = min(len(item.frames), through - item.position)
            if rows <= 0:
                return
            self._passed += rows
            if rows < len(item.frames):
                rest = replace(item, position=through, frames=item.frames[rows:])
                self._entries[0] = rest
                return
            self._entries.popleft()

    def next_items(self, rows: int | None) -> list[WaitingItem]:
        """The items at the head that a burst may be cut from: of one start, in order, about so many rows."""
        return list(_of_one_start(self._entries, rows))

    def items(self) -> list[WaitingItem]:
        """All of them."""
        return [entry for entry in self._entries if isinstance(entry, WaitingItem)]

    def _refuse_closed(self) -> None:
        if not self._is_open:
            raise SessionError("nothing is relayed to this dongle")

    def _append(self, entry: WaitingItem | Counts) -> None:
        if len(self._entries) >= MAX_ENTRIES:
            raise SessionError(f"more than {MAX_ENTRIES} items and rows of counts wait")
        self._entries.append(entry)


def _follows(last: Counts, counts: Counts) -> bool:
    same = (last.start_id, last.reason, last.in_doubt) == (counts.start_id, counts.reason, counts.in_doubt)
    return same and last.through == counts.first


def _of_one_start(entries: Iterable[WaitingItem | Counts], rows: int | None) -> Iterator[WaitingItem]:
    """What goes back to an earlier position has come late: it is looked at by itself, against the cursor."""
    last: WaitingItem | None = None
    for entry in entries:
        if not isinstance(entry, WaitingItem):
            return
        if last is not None and (entry.start_id != last.start_id or entry.position < last.end):
            return
        yield entry
        last = entry
        if rows is not None:
            rows -= len(entry.frames)
            if rows <= 0:
                return
