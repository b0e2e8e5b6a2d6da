"""A lane's window of which most is on disk: packets are there as soon as the server takes too long over them.

In memory are only: what is too young to be written, what was made on the current connection or waited in
memory when it began, and what was read back to be sent. All that is on disk alone is older than all that is
in memory. A shell calls `hand_over`, writes what that gives in one transaction, and calls `written` or
`writer.not_written`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from can_stream.lanes.backlog import Stretch, listing
from can_stream.lanes.held import Held, lost_stretch
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import MemoryWindow, WindowLimits
from can_stream.protocol.control import LaneName
from can_stream.protocol.packet_head import PacketNumber
from edge_agent.lanes.backlog_reader import Fetch
from edge_agent.lanes.disk_backlog import DiskBacklog, SpoolRow
from edge_agent.lanes.disk_part import DiskPart
from edge_agent.lanes.spool_writer import SpoolWriter


class SpooledWindow:
    """Of the lane of this start. `is_whole`: all that the file holds of the lane is known. `on_ready` is
    called when there may be something of the backlog to send that was not there before."""

    def __init__(self, start_id: str, limits: WindowLimits, patience_seconds: float) -> None:
        self.memory = MemoryWindow(limits)
        self.disk = DiskPart(start_id, self.memory.held)
        self.writer = SpoolWriter(self.memory, self.disk.unneeded, patience_seconds)
        self.is_whole = False
        self.on_ready: Callable[[], None] = lambda: None
        self._lists_all = True
        self._greets_again = False
        self._needs_room = False

    # -- how it stands

    @property
    def held_bytes(self) -> int:
        """Of what is in memory."""
        return self.memory.held_bytes

    @property
    def held_packets(self) -> int:
        """How many wait, wherever they are."""
        return self.memory.held_packets + self.disk.backlog.packets

    @property
    def unsafe_frames(self) -> int:
        """How many frames would be lost with the process."""
        return self.memory.unsafe_frames

    @property
    def trimmed_frames(self) -> int:
        """How many of this start had to be let go."""
        return self.disk.trimmed_frames + self.memory.trimmed_frames + self.writer.shrunk_frames

    @property
    def oldest_made_at_seconds(self) -> float | None:
        """When the first of those in memory was made."""
        return self.memory.oldest_made_at_seconds

    def waiting_frames(self, start_id: str) -> int:
        """How many frames of this start wait, wherever they are."""
        return self.memory.waiting_frames(start_id) + self.disk.waiting_frames(start_id)

    # -- the sender's side

    def hold(self, held: Held) -> None:
        """One more, the newest."""
        self.writer.take_held(held)
        self.memory.hold(held)

    def find(self, number: PacketNumber) -> Held | None:
        """A packet in memory."""
        return self.memory.find(number)

    def release(self, number: PacketNumber) -> Held | None:
        """The server has it."""
        held = self.disk.release(number) or self.memory.release(number)
        if held is not None:
            self.writer.forget(held)
        return held

    def release_through(self, start_id: str, seq: int) -> int:
        """The server has all of this start up to there; how many frames were waiting of it."""
        numbers = [one for one in self.memory.held if one.start_id == start_id and one.seq <= seq]
        frames = sum(held.data_frames for number in numbers if (held := self.release(number)) is not None)
        return frames + self.disk.release_through(start_id, seq)

    def open(self, max_ranges: int) -> tuple[list[Stretch], bool]:
        """A connection begins: what its hello lists, and whether that is all there is anywhere."""
        self.close()
        disk = self.disk
        disk.is_connected, self._greets_again = True, False
        waiting = [*disk.backlog.stretches, *(held.stretch for held in self.memory.held.values())]
        ranges, self._lists_all = listing(waiting, max_ranges)
        disk.reader.open(max((one.last_row for one in ranges), default=0))
        self.memory.follow(max(0, sum(one.packets for one in ranges) - disk.backlog.packets))
        return ranges, self._lists_all and self.is_whole

    def close(self) -> None:
        """It is gone."""
        self.disk.is_connected = self._needs_room = False
        self.memory.close()
        self.disk.reader.close()
        self._evict()

    @property
    def has_backlog(self) -> bool:
        """Whether `next_backlog` gives something."""
        reader = self.disk.reader
        return reader.has_packets or (reader.is_finished and self.memory.has_backlog)

    def next_backlog(self) -> Held | None:
        """The next: what waits in memory follows when all on disk has been read."""
        reader = self.disk.reader
        if reader.has_packets:
            return reader.next_packet()
        return self.memory.next_backlog() if reader.is_finished else None

    # -- the disk's side

    @property
    def wants_greeting(self) -> bool:
        """Whether another connection would get on with what this one cannot: what its hello did not list, or
        live packets that pile up."""
        if not self.disk.is_connected:
            return False
        memory, reader = self.memory, self.disk.reader
        is_idle = reader.is_idle and not memory.has_backlog
        is_incomplete = reader.has_unlisted or not self._lists_all
        piles_up = (
            memory.held_bytes > memory.limits.max_bytes and 2 * memory.spooled_bytes > memory.held_bytes
        )
        return piles_up or self._needs_room or self._greets_again or (is_idle and is_incomplete)

    def ask_for_greeting(self) -> None:
        """What was made on this connection has to become backlog, which the disk may let go."""
        self._needs_room = self.disk.is_connected and self.memory.spooled_bytes > 0

    def offer(self, left: DiskBacklog) -> None:
        """What earlier starts left on disk, all of it; a connection that exists already greets again."""
        self.disk.backlog.put_first(left.stretches)
        if left.stretches:
            self.disk.reader.skip(left.stretches[-1].last_row)
        self._greets_again = self.disk.is_connected and (not self.is_whole or bool(left.stretches))
        self.is_whole = True

    def hand_over(self, now_seconds: float, next_row: Callable[[], int], max_bytes: int) -> list[SpoolRow]:
        """What has to be written now, oldest first, up to `max_bytes`; it has a row from now on."""
        return self.writer.hand_over(now_seconds, next_row, max_bytes, is_connected=self.disk.is_connected)

    def written(self, rows: Iterable[SpoolRow]) -> None:
        """A transaction has stored these."""
        for row in rows:
            held = self.memory.held.get(row.number)
            if held is not None and held.row == row.row:
                held.is_stored = True
        if not self.disk.is_connected:
            self._evict()

    def take_rows(self, fetch: Fetch, rows: list[SpoolRow], now_seconds: float) -> None:
        """What was read of what `disk.reader` asked for."""
        gone = self.disk.reader.take_rows(fetch, rows)
        self.disk.vanished(gone)
        self._put_gaps(gone, now_seconds)
        self.on_ready()

    def shift_rows(self, offset: int) -> None:
        """What is on disk is under greater numbers, behind that of another file."""
        self.writer.shift_rows(offset)
        self.disk.shift_rows(offset)

    def disk_lost(self, now_seconds: float) -> None:
        """The file is gone, and what was there alone: gaps say which positions. Another file follows."""
        self._put_gaps(self.disk.lost_all(), now_seconds)
        self.writer.begin_anew()
        self.is_whole = True

    # -- inside

    def _evict(self) -> None:
        """What is on disk and not sent from memory leaves it."""
        memory = self.memory
        while memory.held and (oldest := next(iter(memory.held.values()))).is_stored:
            self.disk.backlog.append(oldest.stretch)
            memory.release(oldest.number)

    def _put_gaps(self, lost: list[Stretch], now_seconds: float) -> None:
        for stretch in reversed(lost):
            gap = lost_stretch(stretch, now_seconds)
            self.memory.put_first(gap)
            self.writer.take_lost(gap)
        if lost:
            self._greets_again = self.disk.is_connected


def spooled_lane(
    dongle_id: str,
    lane: LaneName,
    start_id: str,
    limits: WindowLimits,
    resolution_ns: int,
    patience_seconds: float,
) -> LaneSender:
    """A lane whose source cannot wait; `patience_seconds`: see `SpoolWriter`."""
    window = SpooledWindow(start_id, limits, patience_seconds)
    sender = LaneSender(dongle_id, lane, start_id, limits, resolution_ns, window)
    window.writer.pack = sender.packed
    window.on_ready = sender.send_more
    return sender
