"""What of a lane has to be written to disk, and when: packets that the server takes too long over, and frames
that have waited as long to become a packet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from can_stream.frames.batches import FrameBatch
from can_stream.lanes.held import Held
from can_stream.lanes.window import MemoryWindow
from can_stream.protocol.packet_head import MAX_PACKET_BYTES, PacketNumber
from can_stream.protocol.packets import GapReason
from edge_agent.lanes.disk_backlog import SpoolRow, Unneeded

OpenBatch = tuple[FrameBatch, float, int]
"""Frames that are no packet yet, when the first of them came, and their `born_ns` as in `Held`."""


class _Provisional(Struct, frozen=True):
    """The open batch as it was written: under the next number, which the packet will take that it becomes."""

    row: int
    frames: int
    written_at_seconds: float


class SpoolWriter:
    """Chooses from `memory`. `patience_seconds`: how old a packet, and what waits to become one, may get.

    `open_batch` gives what waits to become a packet, `pack` makes the packet of it that would be the next.
    `unneeded` gets the rows that others have taken the place of, or nobody needs.
    """

    def __init__(self, memory: MemoryWindow, unneeded: Unneeded, patience_seconds: float) -> None:
        self.open_batch: Callable[[], OpenBatch | None] = lambda: None
        self.pack: Callable[[FrameBatch, float, int], Held] | None = None
        self.max_packet_bytes = MAX_PACKET_BYTES
        self.shrunk_frames = 0
        self._memory = memory
        self._unneeded = unneeded
        self._patience_seconds = patience_seconds
        self._fresh: deque[PacketNumber] = deque()
        self._provisional: _Provisional | None = None

    @property
    def gathered_frames(self) -> int:
        """How many frames of the open batch are on disk."""
        return 0 if self._provisional is None else self._provisional.frames

    def take_held(self, held: Held) -> None:
        """A packet that is new."""
        if self._provisional is not None:
            held.replaces, self._provisional = self._provisional.row, None
        self._fresh.append(held.number)

    def forget(self, held: Held) -> None:
        """The server has it: what is on disk of it is not needed any more."""
        self._unneeded.rows += [row for row in (held.row, held.replaces) if row]

    def take_lost(self, gap: Held) -> None:
        """A gap that is older than all that is new."""
        self._fresh.appendleft(gap.number)

    def shift_rows(self, offset: int) -> None:
        """What is on disk is under greater numbers."""
        if self._provisional is not None:
            self._provisional = replace(self._provisional, row=self._provisional.row + offset)
        for held in self._memory.held.values():
            held.row += offset if held.row else 0
            held.replaces += offset if held.replaces else 0

    def begin_anew(self) -> None:
        """With another file, which has nothing of what is in memory."""
        self._provisional = None
        self._fresh = deque(self._memory.held)
        for held in self._memory.held.values():
            held.row, held.is_stored, held.replaces = 0, False, 0
        self._memory.spooled_bytes = 0

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

    def hand_over(
        self, now_seconds: float, next_row: Callable[[], int], max_bytes: int, *, is_connected: bool
    ) -> list[SpoolRow]:
        """What has to be written now, oldest first, up to `max_bytes`; it has a row from now on.

        Where one is due, younger ones go along: all of them while nobody could acknowledge them.
        """
        youngest = now_seconds - (self._patience_seconds / 2 if is_connected else 0.0)
        rows: list[SpoolRow] = []
        size = 0
        while (held := self._oldest_fresh()) is not None and held.made_at_seconds <= youngest:
            size += len(held.packet)
            if size > max_bytes and rows:
                return rows
            self._fresh.popleft()
            if len(held.packet) > self.max_packet_bytes:
                self._shrink(held)
            rows.append(self._placed(held, next_row))
        return [*rows, *self._provisional_row(now_seconds, next_row)]

    def hand_over_all(self, next_row: Callable[[], int]) -> list[SpoolRow]:
        """All that is not known to be on disk, at the end."""
        self._fresh.clear()
        waiting = [held for held in self._memory.held.values() if not held.is_stored]
        return [row_of(held) if held.row else self._placed(held, next_row) for held in waiting]

    def not_written(self, rows: list[SpoolRow]) -> None:
        """The disk did not take these: they are in memory alone."""
        if self._provisional is not None and any(row.row == self._provisional.row for row in rows):
            self._provisional = None
        held_of = self._memory.held.get
        back = [held for row in rows if (held := held_of(row.number)) and held.row == row.row]
        for held in reversed(back):
            self._memory.spooled_bytes -= len(held.packet)
            self._fresh.appendleft(held.number)
            held.row = 0
        self._unneeded.rows += [row.row for row in rows]  # they may be there after all

    # -- inside

    def _placed(self, held: Held, next_row: Callable[[], int]) -> SpoolRow:
        held.row = next_row()
        self._memory.spooled_bytes += len(held.packet)
        if held.replaces:
            self._unneeded.rows.append(held.replaces)
            held.replaces = 0
        return row_of(held)

    def _oldest_fresh(self) -> Held | None:
        while self._fresh:
            held = self._memory.held.get(self._fresh[0])
            if held is not None and not held.row:
                return held
            self._fresh.popleft()
        return None

    def _open_since(self) -> float | None:
        """Since when there are frames that are in no packet and, begun as one, not on disk."""
        batch = self.open_batch()
        if batch is None:
            return None
        if self._provisional is not None:
            is_more = len(batch[0]) > self._provisional.frames
            return self._provisional.written_at_seconds if is_more else None
        return batch[1]

    def _provisional_row(self, now_seconds: float, next_row: Callable[[], int]) -> list[SpoolRow]:
        since, batch = self._open_since(), self.open_batch()
        if batch is None or since is None or self.pack is None or self._oldest_fresh() is not None:
            return []
        if since + self._patience_seconds > now_seconds:
            return []
        held = self.pack(*batch)
        held.row = next_row() if self._provisional is None else self._provisional.row
        self._provisional = _Provisional(held.row, len(batch[0]), now_seconds)
        return [row_of(held)]

    def _shrink(self, held: Held) -> None:
        """The disk has no room for such a large one."""
        self.shrunk_frames += held.data_frames
        gap = held.as_gap(GapReason.SPOOL)
        self._memory.held_bytes += len(gap.packet) - len(held.packet)
        held.gap, held.packet = gap.gap, gap.packet


def row_of(held: Held) -> SpoolRow:
    """It, as it is on disk."""
    return SpoolRow(
        held.row,
        held.number,
        held.position,
        held.first_seq,
        held.frames,
        held.gap,
        held.span_ns,
        held.made_at_seconds,
        held.packet,
        None,
        held.activation,
        held.born_ns,
    )
