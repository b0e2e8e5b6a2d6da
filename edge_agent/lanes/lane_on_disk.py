"""A lane part of whose packets is on disk alone: what it lists, reads back, trims and forgets.

All that is on disk alone is older than all that is in memory. A packet that waited before the current
connection is sent from disk alone, so that it is marked as maybe sent before it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from can_stream.lanes.backlog import Stretch
from can_stream.lanes.sender import Held, LaneSender, WindowLimits
from can_stream.protocol.control import MAX_RANGES, LaneName
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import LaneHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, encode_gap
from edge_agent.lanes.disk_backlog import DiskBacklog, Marks, SpoolRow

_FETCHED_AHEAD: Final = 64
_MARKED_AHEAD: Final = 256


class Fetch(Struct, frozen=True):
    """Read packets of `start_id` whose first number is in this interval, between these rows."""

    start_id: str
    first_seq: int
    last_seq: int
    after_row: int
    through_row: int
    epoch: int


class LaneOnDisk(LaneSender):
    """What `SpooledLane` and a file share; a shell reads what `next_fetch` asks for and calls `fetched`."""

    def __init__(
        self, dongle_id: str, lane: LaneName, start_id: str, limits: WindowLimits, resolution_ns: int = 1000
    ) -> None:
        super().__init__(dongle_id, lane, start_id, limits, resolution_ns)
        self.disk = DiskBacklog()
        self.deletes: list[int] = []
        self.delete_stretches: list[Stretch] = []
        self._marks: dict[str, Marks] = {}
        self._stored_marks: dict[str, str] = {}
        self._spooled_bytes = 0
        self._lost: list[Stretch] = []
        self.earlier_trimmed_frames = 0
        self._disk_works = True
        # Of the current connection.
        self._epoch = 0
        self._sent_from: int | None = None
        self._fetched: dict[PacketNumber, Held] = {}
        self._is_fetching = False
        self._fetched_through = (0, 0)  # row, seq
        self._tail: deque[PacketNumber] = deque()
        self._listed_row = 0
        self._listed_seq = 0
        self._all_listed = True
        self._greets_again = False
        self._needs_room = False

    # -- what stands where

    @property
    def is_empty(self) -> bool:
        """Whether the server has everything."""
        return super().is_empty and not self.disk.stretches

    @property
    def held_packets(self) -> int:
        """How many packets wait for their acknowledgement."""
        return len(self._held) + self.disk.packets

    @property
    def held_frames(self) -> int:
        """How many frames wait for their acknowledgement and would be lost with the process."""
        waiting = (held for held in self._held.values() if not held.is_stored and held.gap is None)
        return sum(held.frames or 0 for held in waiting)

    @property
    def waiting_frames(self) -> int:
        """How many frames of this start wait for their acknowledgement, wherever they are."""
        own = (one for one in self.disk.stretches if one.start_id == self.start_id)
        return super().waiting_frames + sum(one.frames - one.lost_frames for one in own)

    @property
    def frames_on_disk(self) -> int:
        """How many frames wait on disk, be they in memory too."""
        stored = (held.frames or 0 for held in self._held.values() if held.is_stored and held.gap is None)
        return self.disk.frames + sum(stored)

    def oldest_age_seconds(self, now_seconds: float) -> float | None:
        """Of what is on disk alone; None where nothing is, or its age cannot be known."""
        oldest = self.disk.stretches[0].oldest_seconds if self.disk.stretches else None
        return None if oldest is None else now_seconds - oldest

    @property
    def wants_greeting(self) -> bool:
        """Whether another connection would get on with what this one cannot: what its hello did not list, or
        live packets that pile up."""
        if not self._connected:
            return False
        backlog = RangeKind.BACKLOG
        is_idle = not (self._todo[backlog] or self._sent[backlog] or self._tail or self._is_fetching)
        is_idle = is_idle and self._stretch_after(self._fetched_through[0]) is None
        has_unlisted = bool(self.disk.stretches) and self.disk.stretches[-1].last_row > self._listed_row
        piles_up = self.held_bytes > self.limits.max_bytes and 2 * self._spooled_bytes > self.held_bytes
        is_incomplete = has_unlisted or not self._all_listed or self._greets_again or bool(self._lost)
        return piles_up or self._needs_room or (is_idle and is_incomplete)

    def ask_for_greeting(self) -> None:
        """What was made on this connection has to become backlog, which the disk may let go."""
        self._needs_room = self._connected and self._spooled_bytes > 0

    # -- one connection after another

    def offer(self, left: DiskBacklog, marks: dict[str, Marks]) -> None:
        """What earlier starts left on disk; a connection that exists already is asked for another hello."""
        self.disk.put_first(left.stretches)
        for start_id, one in marks.items():
            self._marks[start_id] = one
            self._announced[start_id] = one.announced

    def connect(self, now_seconds: float, max_ranges: int = MAX_RANGES) -> LaneHello:
        """A new connection: what is on disk and in memory is its backlog, as far as a hello can list it."""
        self.disconnect()
        self._connected = True
        self._epoch += 1
        waiting = [*self._lost, *self.disk.stretches, *(held.stretch for held in self._held.values())]
        ranges = self._ranges(waiting, max_ranges)
        self._all_listed = len(ranges) <= max_ranges
        ranges = ranges[:max_ranges]
        self._greets_again, self._lost = bool(self._lost), []
        self._listed_row = max((one.last_row for one in ranges), default=0)
        own = [one.last_seq for one in ranges if one.start_id == self.start_id]
        self._listed_seq = own[-1] if own else 0
        listed = [n for n, held in self._held.items() if not held.row and n.seq <= self._listed_seq]
        self._tail.extend(listed)
        self._sent_from = listed[0].seq if listed else self.next_seq
        self._finish_disk_part()
        return self._hello(ranges, now_seconds)

    def disconnect(self) -> None:
        """The connection is gone: what was read from disk is still there, what was made is too."""
        for held in self._held.values() if self._connected else ():
            if held.was_sent:
                self.marks(self.start_id).may_have_sent(held.first_seq, held.number.seq)
        super().disconnect()
        self._sent_from, self._needs_room = None, False
        self._fetched.clear()
        self._tail.clear()
        self._fetched_through, self._is_fetching = (0, 0), False
        self._evict()

    def accepted(self, taken_through: int) -> None:
        """The server's answer to hello: it has all of this start up to that number."""
        super().accepted(taken_through)
        for stretch in self.disk.pop_through(self.start_id, taken_through):
            self.acknowledged_frames += stretch.frames - stretch.lost_frames
            self.delete_stretches.append(stretch)
        self._finish_disk_part()

    # -- from disk

    def next_fetch(self) -> Fetch | None:
        """What to read now; what it covers counts as maybe sent, which `changed_marks` says from now on."""
        if not self._connected or self._is_fetching or len(self._todo[RangeKind.BACKLOG]) >= _FETCHED_AHEAD:
            return None
        row, seq = self._fetched_through
        stretch = self._stretch_after(row)
        if stretch is None:
            return None
        first_seq = stretch.first_seq if row < stretch.first_row else max(seq + 1, stretch.first_seq)
        last_seq = min(first_seq + _MARKED_AHEAD - 1, stretch.last_seq)
        marks = self.marks(stretch.start_id)
        if marks.sent.missing(first_seq, min(first_seq + _FETCHED_AHEAD - 1, stretch.last_seq)):
            marks.may_have_sent(first_seq, last_seq)
        self._is_fetching = True
        after_row = max(row, stretch.first_row - 1)
        return Fetch(stretch.start_id, first_seq, last_seq, after_row, stretch.last_row, self._epoch)

    def fetched(self, fetch: Fetch, rows: list[SpoolRow], marks: dict[str, str]) -> None:
        """What was read, in order; forgotten where its connection is gone."""
        self._stored_marks.update(marks)
        if fetch.epoch != self._epoch or not self._connected:
            return
        self._is_fetching = False
        for row in rows:
            held = Held(row.number, row.packet, row.frames, row.gap, row.span_ns, row.made_at_seconds)
            held.row, held.is_stored = row.row, True
            self._fetched[row.number] = held
            self._todo[RangeKind.BACKLOG].append(row.number)
            self._fetched_through = (row.row, row.number.seq)
        if not rows:  # somebody else has been at the file
            self._vanished(fetch.through_row)
        self._finish_disk_part()
        self.on_unsent()

    @property
    def has_backlog_to_read(self) -> bool:
        """Whether `next_fetch` should be asked soon."""
        return self._connected and self._stretch_after(self._fetched_through[0]) is not None

    def use_disk(self, works: bool) -> None:
        """Whether the disk gives what is there; while it does not, a connection goes on without it."""
        self._disk_works = works
        self._is_fetching = False
        self._finish_disk_part()

    # -- what a shell writes together with packets

    def marks(self, start_id: str) -> Marks:
        """What is known of a start's packets."""
        found = self._marks.get(start_id)
        if found is None:
            found = self._marks[start_id] = Marks()
        found.announced = max(found.announced, self._announced.get(start_id, 0))
        return found

    def known_marks(self) -> dict[str, Marks]:
        """Of all starts, for another lane object in place of this one."""
        return {start_id: self.marks(start_id) for start_id in {*self._marks, *self._announced}}

    def changed_marks(self) -> dict[str, str]:
        """What has to be stored together with whatever is written next, by start."""
        starts = {self.start_id, *self._marks, *self._announced}
        texts = {start: self.marks(start).text(self._open_of(start)) for start in sorted(starts)}
        return {start: text for start, text in texts.items() if self._stored_marks.get(start) != text}

    def deleted(self) -> tuple[list[int], list[Stretch]]:
        """Which rows are not needed any more; they are asked for once."""
        deletes, self.deletes = self.deletes, []
        stretches, self.delete_stretches = self.delete_stretches, []
        return deletes, stretches

    def not_deleted(self, deletes: list[int], stretches: list[Stretch]) -> None:
        """The disk did not take that."""
        self.deletes += deletes
        self.delete_stretches += stretches

    # -- room

    def may_drop(self, rows: list[SpoolRow]) -> bool:
        """Whether these gaps, the oldest of the lane, may be forgotten: none is on its way."""
        return not self._fetched and not self._is_fetching and not any(map(self.is_in_memory, rows))

    def may_merge(self, before: SpoolRow, after: SpoolRow) -> bool:
        """Whether one gap may stand for both: never sent, of consecutive numbers, and in one listed range."""
        stretch = self.disk.stretch_of(after)
        return (
            stretch is not None
            and stretch is self.disk.stretch_of(before)
            and before.number.seq + 1 == after.first_seq
            and not self.may_be_sent(before)
            and not self.may_be_sent(after)
        )

    def join_for_trim(self, rows: list[SpoolRow]) -> None:
        """These are about to become gaps, as few as may be: what no open hello lists may become one range."""
        if rows and not self._connected:
            self.disk.join(rows[0], rows[-1], self._announced)

    def may_be_sent(self, row: SpoolRow) -> bool:
        """Whether it may have been sent, or may be before anybody looks again."""
        is_open = self._is_of_connection(row.number) or row.number in self._fetched
        return is_open or self.marks(row.number.start_id).maybe_sent(row.first_seq, row.number.seq)

    def is_in_memory(self, row: SpoolRow) -> bool:
        """Whether it is sent from there: then nothing may be done to it on disk."""
        return row.number in self._held

    def trimmed(self, rows: Iterable[SpoolRow], merged: Iterable[SpoolRow]) -> None:
        """A transaction has replaced these by gaps, and merged others into those that follow them."""
        for row in merged:
            self.disk.merged(row)
        for row in rows:
            if self.disk.trimmed(row):
                self._count_trimmed(row.number.start_id, row.frames or 0)
            held = self._fetched.get(row.number)
            if held is not None and held.gap is None:
                held.gap = gap_of(row)
                held.packet = encode_gap(row.number, held.gap)

    def dropped(self, rows: Iterable[SpoolRow]) -> None:
        """A transaction has deleted these gaps, the oldest of the lane: too many of them.

        What a hello has listed the server counts itself; what none has is listed once more.
        """
        for row in rows:
            self.disk.acknowledged(row)
            self._lose(
                Stretch(
                    row.number.start_id, row.first_seq, row.number.seq, row.frames or 0, row.frames or 0, None
                )
            )

    # -- inside

    def _find(self, number: PacketNumber) -> Held | None:
        return self._fetched.get(number) or super()._find(number)

    @property
    def _memory_alone_bytes(self) -> int:
        return self.held_bytes - self._spooled_bytes

    def _release(self, number: PacketNumber) -> None:
        held = self._fetched.pop(number, None)
        if held is not None:
            self._count_acknowledged(held)
            self.disk.acknowledged(row_of(held))
        else:
            held = self._held.get(number)
            super()._release(number)
            if held is not None and held.row:
                self._spooled_bytes -= len(held.packet)
        if held is not None:
            self.deletes += [row for row in (held.row, held.replaces) if row]

    def _is_of_connection(self, number: PacketNumber) -> bool:
        begin = self._sent_from
        return begin is not None and number.start_id == self.start_id and number.seq >= begin

    def _open_of(self, start_id: str) -> int | None:
        return self._sent_from if start_id == self.start_id else None

    def _evict(self) -> None:
        """What is on disk and not sent from memory leaves it."""
        while self._held:
            number, held = next(iter(self._held.items()))
            if not held.is_stored or self._is_of_connection(number):
                return
            del self._held[number]
            self.held_bytes -= len(held.packet)
            self._spooled_bytes -= len(held.packet)
            self.disk.append(held.stretch, self._announced)

    def _stretch_after(self, row: int) -> Stretch | None:
        listed = (one for one in self.disk.stretches if row < one.last_row <= self._listed_row)
        return next(listed, None) if self._disk_works else None

    def _finish_disk_part(self) -> None:
        """What waits in memory follows when all on disk has been read, and all on its way there is."""
        if not self._tail or self._is_fetching or self._stretch_after(self._fetched_through[0]) is not None:
            return
        oldest = next(iter(self._held.values()), None)
        if oldest is not None and oldest.row and not self._is_of_connection(oldest.number):
            return
        self._todo[RangeKind.BACKLOG].extend(self._tail)
        self._tail.clear()

    def _vanished(self, row: int) -> None:
        for stretch in [one for one in self.disk.stretches if one.first_row <= row <= one.last_row]:
            self.disk.stretches.remove(stretch)
            self._count_trimmed(stretch.start_id, stretch.frames - stretch.lost_frames)
            self._lose(stretch)

    def _count_trimmed(self, start_id: str, frames: int) -> None:
        if start_id == self.start_id:
            self.trimmed_frames += frames
        else:
            self.earlier_trimmed_frames += frames

    def _lose(self, stretch: Stretch) -> None:
        if stretch.last_seq > self._announced.get(stretch.start_id, 0):
            self._lost.append(stretch)
        elif self._connected:
            self._greets_again = True


def gap_of(row: SpoolRow) -> Gap:
    """What stands for a packet that the disk had to let go."""
    return Gap(GapReason.SPOOL, row.first_seq, row.frames, *(row.span_ns or (None, None)))


def row_of(held: Held) -> SpoolRow:
    """It, as it is on disk."""
    return SpoolRow(
        held.row,
        held.number,
        held.first_seq,
        held.frames,
        held.gap,
        held.span_ns,
        held.made_at_seconds,
        held.packet,
    )
