"""What of a lane is on disk alone, how it is let go, and what is read back of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from can_stream.lanes.backlog import Stretch
from can_stream.lanes.held import Held
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import encode_gap
from edge_agent.lanes.backlog_reader import BacklogReader
from edge_agent.lanes.disk_backlog import DiskBacklog, SpoolRow, Unneeded, gap_of
from edge_agent.lanes.spool_writer import row_of


class DiskPart:
    """Of the lane of this start, or of one that no dongle has now. `in_memory`: what is sent from there."""

    def __init__(self, start_id: str, in_memory: Collection[PacketNumber] = ()) -> None:
        self.start_id = start_id
        self.backlog = DiskBacklog()
        self.reader = BacklogReader(self.backlog)
        self.unneeded = Unneeded()
        self.trimmed_frames = 0
        self.earlier_trimmed_frames = 0
        self.is_connected = False
        self._in_memory = in_memory

    @property
    def frames(self) -> int:
        """How many frames are there."""
        return self.backlog.frames

    def waiting_frames(self, start_id: str) -> int:
        """How many frames of this start are there."""
        return sum(one.data_frames for one in self.backlog.stretches if one.start_id == start_id)

    def oldest_age_seconds(self, now_seconds: float) -> float | None:
        """None where nothing is there, or its age cannot be known."""
        oldest = self.backlog.stretches[0].oldest_seconds if self.backlog.stretches else None
        return None if oldest is None else now_seconds - oldest

    # -- what the server has

    def release(self, number: PacketNumber) -> Held | None:
        """A packet that was read back."""
        held = self.reader.release(number)
        if held is not None:
            self.backlog.acknowledged(row_of(held))
        return held

    def release_through(self, start_id: str, seq: int) -> int:
        """All of this start up to there, as far as it stands together; how many frames that was."""
        stretches = self.backlog.pop_through(start_id, seq)
        self.unneeded.stretches += stretches
        return sum(stretch.data_frames for stretch in stretches)

    # -- room

    def join_for_trim(self, rows: list[SpoolRow]) -> None:
        """These are about to become gaps, as few as may be: what no open hello lists may become one range."""
        if rows and not self.is_connected:
            self.backlog.join(rows[0], rows[-1])

    def may_merge(self, before: SpoolRow, after: SpoolRow) -> bool:
        """Whether one gap may stand for both: neighbours in one listed range, and not on their way."""
        stretch = self.backlog.stretch_of(after)
        is_here = stretch is not None and stretch is self.backlog.stretch_of(before)
        is_on_its_way = self.reader.find(before.number) or self.reader.find(after.number)
        return is_here and before.number.seq + 1 == after.first_seq and not is_on_its_way

    def may_drop(self, rows: list[SpoolRow]) -> bool:
        """Whether these gaps, the oldest of the lane, may be forgotten: none is on its way."""
        return self.reader.is_idle and not any(map(self.is_in_memory, rows))

    def is_in_memory(self, row: SpoolRow) -> bool:
        """Whether it is sent from there: then nothing may be done to it on disk."""
        return row.number in self._in_memory

    def trimmed(self, rows: Iterable[SpoolRow], merged: Iterable[SpoolRow]) -> None:
        """A transaction has replaced these by gaps, and merged others into those that follow them."""
        for row in merged:
            self.backlog.merged(row)
        for row in rows:
            if self.backlog.trimmed(row):
                self._count_trimmed(row.number.start_id, row.frames or 0)
            held = self.reader.find(row.number)
            if held is not None and held.gap is None:
                held.gap = gap_of(row)
                held.packet = encode_gap(row.number, held.gap, row.position)

    def dropped(self, rows: Iterable[SpoolRow]) -> None:
        """A transaction has deleted these gaps, the oldest of the lane: too many of them. The server finds by
        itself what they stood for."""
        for row in rows:
            self.backlog.acknowledged(row)

    def shift_rows(self, offset: int) -> None:
        """All that is there is under greater numbers."""
        for stretch in self.backlog.stretches:
            stretch.first_row += offset
            stretch.last_row += offset
        self.unneeded.shift_rows(offset)
        self.reader.shift_rows(offset)

    # -- what is there no more

    def lost_all(self) -> list[Stretch]:
        """The file is gone: all of it, counted. Another file follows."""
        lost, self.backlog = list(self.backlog.stretches), DiskBacklog()
        self.reader.use(self.backlog)
        self.unneeded.clear()
        self._count(lost)
        return lost

    def vanished(self, stretches: list[Stretch]) -> None:
        """These could not be read: counted."""
        for stretch in stretches:
            self.backlog.stretches.remove(stretch)
        self._count(stretches)

    def _count(self, lost: list[Stretch]) -> None:
        for stretch in lost:
            self._count_trimmed(stretch.start_id, stretch.data_frames)

    def _count_trimmed(self, start_id: str, frames: int) -> None:
        if start_id == self.start_id:
            self.trimmed_frames += frames
        else:
            self.earlier_trimmed_frames += frames
