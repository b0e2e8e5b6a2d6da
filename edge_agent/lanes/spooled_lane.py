"""A lane whose packets are on disk as soon as the server takes too long over them.

In memory are only: what is too young to be written, what was made on the current connection, and what was
read back to be sent. A packet of the current connection, once written, is sent from memory all the same. A
shell calls `hand_over`, writes what that gives in one transaction, and calls `written` or `not_written`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from can_stream.frames.batches import FrameBatch
from can_stream.lanes.sender import Held, WindowLimits
from can_stream.protocol.control import LaneName
from can_stream.protocol.packet_head import MAX_PACKET_BYTES, PacketNumber
from can_stream.protocol.packets import encode_frames, encode_gap
from edge_agent.lanes.disk_backlog import DiskBacklog, SpoolRow
from edge_agent.lanes.lane_on_disk import LaneOnDisk, gap_of, row_of

OpenBatch = tuple[FrameBatch, float]
"""Frames that are no packet yet, and when the first of them came."""


class SpooledLane(LaneOnDisk):
    """One lane of one dongle whose source cannot wait.

    `patience_seconds`: how old a packet, and what waits to become one, may get before it has to be written.
    `open_batch` gives what waits to become one.
    """

    def __init__(
        self,
        dongle_id: str,
        lane: LaneName,
        start_id: str,
        limits: WindowLimits,
        resolution_ns: int,
        patience_seconds: float,
    ) -> None:
        super().__init__(dongle_id, lane, start_id, limits, resolution_ns)
        self.open_batch: Callable[[], OpenBatch | None] = lambda: None
        self.max_packet_bytes = MAX_PACKET_BYTES
        self._patience_seconds = patience_seconds
        self._fresh: deque[PacketNumber] = deque()
        self._provisional: tuple[int, int, float] | None = None
        self._provisional_rows = 0

    def due_in(self, now_seconds: float) -> float:
        """Seconds until something has to be written; at most what is certain, so ask again then."""
        due_seconds = now_seconds + self._patience_seconds
        oldest = self._oldest_fresh()
        if oldest is not None:
            due_seconds = min(due_seconds, oldest.made_at_seconds + self._patience_seconds)
        open_since = self._open_since()
        if open_since is not None:
            due_seconds = min(due_seconds, open_since + self._patience_seconds)
        return max(0.0, due_seconds - now_seconds)

    def hand_over(self, now_seconds: float, next_row: Callable[[], int], max_bytes: int) -> list[SpoolRow]:
        """What has to be written now, oldest first, up to `max_bytes`; it has a row from now on.

        Where one is due, younger ones go along: all of them while nobody could acknowledge them.
        """
        youngest = now_seconds - (self._patience_seconds / 2 if self._connected else 0.0)
        rows: list[SpoolRow] = []
        size = 0
        while (held := self._oldest_fresh()) is not None and held.made_at_seconds <= youngest:
            size += len(held.packet)
            if size > max_bytes and rows:
                return rows
            self._fresh.popleft()
            if len(held.packet) > self.max_packet_bytes:
                self._shrink(held)
            held.row = next_row()
            self._spooled_bytes += len(held.packet)
            rows.append(row_of(held))
            if held.replaces:
                self.deletes.append(held.replaces)
        return [*rows, *self._provisional_row(now_seconds, next_row)]

    def hand_over_all(self, next_row: Callable[[], int]) -> list[SpoolRow]:
        """All that is not known to be on disk, at the end."""
        waiting = [held for held in self._held.values() if not held.is_stored]
        for held in waiting:
            held.row = held.row or next_row()
            if held.replaces:
                self.deletes.append(held.replaces)
        return [row_of(held) for held in waiting]

    def written(self, rows: Iterable[SpoolRow], marks: dict[str, str]) -> None:
        """A transaction has stored these."""
        self._stored_marks.update(marks)
        for row in rows:
            held = self._held.get(row.number)
            if held is not None and held.row == row.row:
                held.is_stored = True
        self._evict()
        self._finish_disk_part()

    def not_written(self, rows: list[SpoolRow]) -> None:
        """The disk did not take these: they are in memory alone, and may be sent from there."""
        self._provisional_rows = 0
        back = [held for row in rows if (held := self._held.get(row.number)) and held.row == row.row]
        for held in reversed(back):
            self.deletes.append(held.row)  # it may be there after all
            held.row = 0
            self._spooled_bytes -= len(held.packet)
            self._fresh.appendleft(held.number)
            if self._sent_from is not None and held.number.seq < self._sent_from <= self._listed_seq + 1:
                self._sent_from = held.number.seq
                self._tail.appendleft(held.number)
        self._finish_disk_part()

    def disk_lost(self) -> None:
        """The file is gone. The next hello lists for the last time what it held, the one after that does not,
        and the server counts it."""
        for stretch in self.disk.stretches:
            self._count_trimmed(stretch.start_id, stretch.frames - stretch.lost_frames)
            self._lose(stretch)
        self.disk = DiskBacklog()
        self.deleted()
        self._marks.clear()
        self._stored_marks.clear()
        self._provisional = None
        for held in (*self._held.values(), *self._fetched.values()):
            held.row, held.is_stored, held.replaces = 0, False, 0
        self._fresh = deque(self._held)
        self._spooled_bytes = 0
        self._finish_disk_part()

    def _hold(self, held: Held) -> None:
        if self._provisional is not None and held.number.seq == self._provisional[0]:
            held.replaces = self._provisional[1]
            self._provisional = None
        self._fresh.append(held.number)
        super()._hold(held)

    def _oldest_fresh(self) -> Held | None:
        while self._fresh:
            held = self._held.get(self._fresh[0])
            if held is not None and not held.row:
                return held
            self._fresh.popleft()
        return None

    def _open_since(self) -> float | None:
        """Since when there are frames that are in no packet and, begun as one, not on disk."""
        batch = self.open_batch()
        if batch is None:
            return None
        if self._provisional is not None and self._provisional[0] == self.next_seq:
            return self._provisional[2] if len(batch[0]) > self._provisional_rows else None
        return batch[1]

    def _provisional_row(self, now_seconds: float, next_row: Callable[[], int]) -> list[SpoolRow]:
        since = self._open_since()
        batch = self.open_batch()
        if batch is None or since is None or since + self._patience_seconds > now_seconds or self._fresh:
            return []
        frames, begun = batch
        row = next_row() if self._provisional is None else self._provisional[1]
        number = PacketNumber(self.start_id, self.next_seq)
        span_ns = (int(frames.timestamp_ns.min()), int(frames.timestamp_ns.max()))
        packet = encode_frames(number, frames, self.resolution_ns)
        self._provisional = (number.seq, row, now_seconds)
        self._provisional_rows = len(frames)
        return [SpoolRow(row, number, number.seq, len(frames), None, span_ns, begun, packet)]

    def _shrink(self, held: Held) -> None:
        """The disk has no room for such a large one."""
        self.held_bytes -= len(held.packet)
        self.trimmed_frames += held.frames or 0
        held.gap = gap_of(row_of(held))
        held.packet = encode_gap(held.number, held.gap)
        self.held_bytes += len(held.packet)
