"""What of one lane is on disk alone: stretches of packets, never an object for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from msgspec import Struct, field

from can_stream.lanes.backlog import Stretch, follows, joined
from can_stream.protocol.packet_head import MAX_SEQ, PacketNumber
from can_stream.protocol.packets import Gap, GapReason

MAX_STRETCHES: Final = 512


class SpoolRow(Struct, frozen=True):
    """A packet on disk, or on its way there. `gap` where that is what it holds; `position` None where it is
    of version 1; `packet` is empty where only the rest is of interest; `age_seconds` None where it cannot be
    known; `activation` and `born_ns`: see `Held`."""

    row: int
    number: PacketNumber
    position: int | None
    first_seq: int
    frames: int | None
    gap: Gap | None
    span_ns: tuple[int, int] | None
    made_at_seconds: float
    packet: bytes = b""
    age_seconds: float | None = None
    activation: str = ""
    born_ns: int = 0

    @property
    def is_record(self) -> bool:
        """Whether it only says by which clock the frames behind it are stamped, or what they are carried for:
        that is never let go."""
        return self.gap is None and self.frames == 0


def gap_of(row: SpoolRow) -> Gap:
    """What stands for a packet that the disk had to let go."""
    return Gap(GapReason.SPOOL, row.first_seq, row.frames, *(row.span_ns or (None, None)))


class Unneeded(Struct):
    """What is on disk and not needed any more: rows that others have taken the place of, or that the server
    has, and whole stretches."""

    rows: list[int] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows or self.stretches)

    def take(self) -> Unneeded:
        """All of it; it is asked for once."""
        taken = Unneeded(self.rows, self.stretches)
        self.rows, self.stretches = [], []
        return taken

    def put_back(self, taken: Unneeded) -> None:
        """The disk did not take that."""
        self.rows += taken.rows
        self.stretches += taken.stretches

    def clear(self) -> None:
        """There is another file."""
        self.rows.clear()
        self.stretches.clear()

    def shift_rows(self, offset: int) -> None:
        """What is on disk is under greater numbers."""
        self.rows = [row + offset for row in self.rows]
        for stretch in self.stretches:
            stretch.first_row += offset
            stretch.last_row += offset


class DiskBacklog:
    """The packets of a lane that are on disk alone, in the order of their rows, which is that of reading: the
    oldest first, but for gaps that stand for what vanished from the file, which are written later."""

    def __init__(self) -> None:
        self.stretches: deque[Stretch] = deque()
        self._packets_per_stretch = 16

    @property
    def packets(self) -> int:
        """How many there are."""
        return sum(stretch.packets for stretch in self.stretches)

    @property
    def frames(self) -> int:
        """How many frames are in them."""
        return sum(stretch.data_frames for stretch in self.stretches)

    def put_first(self, stretches: Iterable[Stretch]) -> None:
        """What earlier starts left: older than all that is here."""
        self.stretches.extendleft(reversed(list(stretches)))

    def append(self, stretch: Stretch) -> None:
        """A packet that is not in memory any more."""
        later = list[Stretch]()
        while self.stretches and self.stretches[-1].first_row > stretch.first_row:
            later.append(self.stretches.pop())
        last = self.stretches[-1] if self.stretches else None
        room = last is not None and last.packets < self._packets_per_stretch
        if last is not None and room and follows(last, stretch) and not _is_gap(stretch):
            last.extend(stretch)
        else:
            self.stretches.append(stretch)
        self.stretches.extend(reversed(later))
        if len(self.stretches) > MAX_STRETCHES and self._packets_per_stretch < MAX_SEQ:
            self._packets_per_stretch *= 2
            self.stretches = deque(joined(self.stretches, self._packets_per_stretch))

    def acknowledged(self, packet: SpoolRow) -> None:
        """The oldest of those that were listed: others may have been put before it since. What a file had
        twice, because a copy of it was brought back, is known by its row."""
        front = self._read_from(packet)
        if front is None:
            return
        if packet.number.seq == front.last_seq:
            self.stretches.remove(front)
            return
        front.first_seq, front.first_row = packet.number.seq + 1, packet.row + 1
        if front.position is not None:
            front.position += packet.frames or 0
        front.oldest_seconds = None if front.oldest_seconds is None else packet.made_at_seconds
        front.frames -= packet.frames or 0
        front.packets -= 1
        if packet.gap is not None:
            front.lost_frames -= packet.frames or 0

    def _read_from(self, packet: SpoolRow) -> Stretch | None:
        concerned = (one for one in self.stretches if one.first_row <= packet.row <= one.last_row)
        return next((one for one in concerned if self._holds(one, packet)), None)

    def pop_through(self, start_id: str, seq: int) -> list[Stretch]:
        """Takes out the stretches of this start that end there or before."""
        gone = [one for one in self.stretches if one.start_id == start_id and one.last_seq <= seq]
        if gone:
            kept = [one for one in self.stretches if one.start_id != start_id or one.last_seq > seq]
            self.stretches = deque(kept)
        return gone

    def join(self, oldest: SpoolRow, newest: SpoolRow) -> None:
        """The stretches from one packet to another become one where they may."""
        concerned = [
            one for one in self.stretches if one.first_row <= newest.row and one.last_row >= oldest.row
        ]
        together = joined(concerned, MAX_SEQ)
        if len(together) < len(concerned):
            at = self.stretches.index(concerned[0])
            rest = list(self.stretches)
            self.stretches = deque([*rest[:at], *together, *rest[at + len(concerned) :]])

    def trimmed(self, packet: SpoolRow) -> bool:
        """Its frames are lost: it is a gap from now on. False where it is not here any more."""
        stretch = self.stretch_of(packet)
        if stretch is None:
            return False
        stretch.lost_frames += packet.frames or 0
        return True

    def merged(self, packet: SpoolRow) -> None:
        """The next one stands for it too."""
        stretch = self.stretch_of(packet)
        if stretch is not None:
            stretch.packets -= 1

    def stretch_of(self, packet: SpoolRow) -> Stretch | None:
        """Where it is."""
        return next((one for one in self.stretches if self._holds(one, packet)), None)

    @staticmethod
    def _holds(stretch: Stretch, packet: SpoolRow) -> bool:
        number = packet.number
        return number.start_id == stretch.start_id and stretch.first_seq <= number.seq <= stretch.last_seq


def _is_gap(stretch: Stretch) -> bool:
    """It may be written later than what is younger: in one range the rows would not be in order."""
    return stretch.frames > 0 and stretch.data_frames == 0
