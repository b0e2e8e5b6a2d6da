"""What of a lane's backlog is read back from disk for the current connection, in order."""

from __future__ import annotations

from collections import deque
from typing import Final

from msgspec import Struct

from can_stream.lanes.backlog import Stretch
from can_stream.lanes.held import Held
from can_stream.protocol.packet_head import PacketNumber
from edge_agent.lanes.disk_backlog import DiskBacklog, SpoolRow

_FETCHED_AHEAD: Final = 64


class Fetch(Struct, frozen=True):
    """Read packets of `start_id` whose first number is in this interval, between these rows."""

    start_id: str
    first_seq: int
    last_seq: int
    after_row: int
    through_row: int
    epoch: int


class BacklogReader:
    """Gives what a hello listed of `disk`; a shell reads what `next_fetch` asks for and calls `take_rows`."""

    def __init__(self, disk: DiskBacklog) -> None:
        self.works = True
        self._disk = disk
        self._epoch = 0
        self._is_open = False
        self._listed_row = 0
        self._through = (0, 0)  # row, seq
        self._is_fetching = False
        self._fetched: dict[PacketNumber, Held] = {}
        self._todo: deque[PacketNumber] = deque()

    def open(self, listed_row: int) -> None:
        """A connection whose hello listed what is on disk up to there."""
        self.close()
        self._is_open, self._listed_row = True, listed_row

    def close(self) -> None:
        """It is gone; what was read is still on disk."""
        self._epoch += 1
        self._is_open, self._is_fetching, self._through = False, False, (0, 0)
        self._fetched.clear()
        self._todo.clear()

    def use(self, disk: DiskBacklog) -> None:
        """Another file."""
        self._disk = disk
        self._is_fetching = False
        self._fetched.clear()
        self._todo.clear()

    def shift_rows(self, offset: int) -> None:
        """What is on disk is under greater numbers; what is being read is read again."""
        self._epoch += 1
        self._is_fetching = False
        self._listed_row += offset
        self._through = (self._through[0] + offset, self._through[1]) if self._through[0] else (0, 0)
        for held in self._fetched.values():
            held.row += offset

    def skip(self, through_row: int) -> None:
        """What was put before all the rest is not listed."""
        self._through = max(self._through, (through_row, 0))

    def use_disk(self, works: bool) -> None:
        """Whether the disk gives what is there; while it does not, a connection goes on without it."""
        self.works, self._is_fetching = works, False

    # -- reading

    def next_fetch(self) -> Fetch | None:
        """What to read now."""
        if not self._is_open or self._is_fetching or len(self._todo) >= _FETCHED_AHEAD:
            return None
        stretch = self._next_stretch()
        if stretch is None:
            return None
        row, seq = self._through
        first_seq = stretch.first_seq if row < stretch.first_row else max(seq + 1, stretch.first_seq)
        self._is_fetching = True
        after_row = max(row, stretch.first_row - 1)
        return Fetch(stretch.start_id, first_seq, stretch.last_seq, after_row, stretch.last_row, self._epoch)

    def take_rows(self, fetch: Fetch, rows: list[SpoolRow]) -> list[Stretch]:
        """What was read, in order; gives what turns out to be there no more. The connection may be gone."""
        if fetch.epoch != self._epoch or not self._is_open:
            return []
        self._is_fetching = False
        for row in rows:
            held = Held(
                row.number, row.position, row.packet, row.frames, row.gap, row.span_ns, row.made_at_seconds
            )
            held.row, held.is_stored = row.row, True
            held.activation, held.born_ns = row.activation, row.born_ns
            self._fetched[row.number] = held
            self._todo.append(row.number)
            self._through = (row.row, row.number.seq)
        if rows:
            return []
        through = fetch.through_row  # somebody else has been at the file
        return [one for one in self._disk.stretches if one.first_row <= through <= one.last_row]

    @property
    def has_more(self) -> bool:
        """Whether `next_fetch` should be asked soon."""
        return self._is_open and self._next_stretch() is not None

    @property
    def is_finished(self) -> bool:
        """Whether all that the hello listed has been read, as far as the disk gives it."""
        return not self._todo and not self._is_fetching and self._next_stretch() is None

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it is on its way either."""
        return self.is_finished and not self._fetched

    @property
    def has_unlisted(self) -> bool:
        """Whether there is more on disk than the hello listed."""
        return bool(self._disk.stretches) and self._disk.stretches[-1].last_row > self._listed_row

    # -- what was read

    @property
    def has_packets(self) -> bool:
        """Whether `next_packet` gives one."""
        return bool(self._todo)

    def next_packet(self) -> Held | None:
        """The next to be sent."""
        return self._fetched[self._todo.popleft()] if self._todo else None

    def find(self, number: PacketNumber) -> Held | None:
        """One that was read and waits for its acknowledgement."""
        return self._fetched.get(number)

    def release(self, number: PacketNumber) -> Held | None:
        """The server has it."""
        return self._fetched.pop(number, None)

    def _next_stretch(self) -> Stretch | None:
        row = self._through[0]
        listed = (one for one in self._disk.stretches if row < one.last_row <= self._listed_row)
        return next(listed, None) if self.works else None
