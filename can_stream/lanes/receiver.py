"""The server's half of a lane: what is taken, what is a hole, what may be acknowledged.

A `LaneReceiver` lives as long as the process and mirrors what storage holds; a `LaneConnection` lives as long
as one data connection. A hello gives an `Opening`, which is stored before it is answered. Packets that
`received` calls new are stored in one transaction with `progress` and `holes_after`; only after that commit
`committed` is called, and only then does `LaneConnection.acks` name them. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from msgspec import Struct, field

from can_stream.lanes.intervals import IntervalSet
from can_stream.protocol.errors import SessionError
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import BacklogRange, LaneHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, Packet

CountTaken = Callable[[str, int, int], int]
"""(start_id, first_seq, last_seq) -> frames of the recorded packets with these numbers."""


class Hole(Struct):
    """Announced and not here yet: the untaken numbers within first to last hold `frames` frames."""

    start_id: str
    first_seq: int
    last_seq: int
    frames: int


class Opening(Struct, frozen=True):
    """What a hello changes, to be stored in one transaction before it is answered."""

    starts: list[str]
    holes: list[Hole]
    gone: list[Packet]


class LaneReceiver(Struct):
    """What the server knows of one lane of one dongle."""

    taken: dict[str, IntervalSet] = field(default_factory=dict)
    holes: list[Hole] = field(default_factory=list)
    pending: set[PacketNumber] = field(default_factory=set)

    def opened(self, hello: LaneHello, start_id: str, count_taken: CountTaken) -> Opening:
        """A connection announces its backlog and where its live range begins.

        Raises SessionError while packets of an older connection are not committed yet.
        """
        if self.pending:
            raise SessionError(f"{len(self.pending)} packets of the last connection are not stored yet")
        starts = list(dict.fromkeys([*(r.start_id for r in hello.backlog), start_id]))
        holes = [hole for r in hello.backlog if (hole := self._hole(r, count_taken)) is not None]
        # A start that is taken up again makes these anew, as live packets.
        holes += [h for h in self.holes if h.start_id == start_id and h.last_seq >= hello.next_seq]
        return Opening(starts, holes, self._gone(holes))

    def opening_stored(self, opening: Opening) -> None:
        """The opening is in storage: what it says holds from now on."""
        for start_id in opening.starts:
            self.taken.setdefault(start_id, IntervalSet())
        for packet in opening.gone:
            self.taken[packet.number.start_id].add(packet.first_seq, packet.number.seq)
        self.holes = opening.holes

    def received(self, packet: Packet) -> bool:
        """Whether this packet is new and must be stored; False: it is taken or about to be."""
        if self.is_taken(packet.number) or packet.number in self.pending:
            return False
        self.pending.add(packet.number)
        return True

    def is_taken(self, number: PacketNumber) -> bool:
        """Whether the packet of this number is recorded."""
        taken = self.taken.get(number.start_id)
        return taken is not None and number.seq in taken

    def progress(self, packets: Iterable[Packet]) -> dict[str, list[tuple[int, int]]]:
        """What `taken` will be once these are recorded: intervals of each start concerned."""
        after: dict[str, IntervalSet] = {}
        for packet in packets:
            start_id = packet.number.start_id
            if start_id not in after:
                after[start_id] = self.taken[start_id].copy()
            after[start_id].add(packet.first_seq, packet.number.seq)
        return {start_id: list(intervals) for start_id, intervals in after.items()}

    def holes_after(self, packets: list[Packet]) -> list[Hole]:
        """What the holes will be once these are recorded."""
        if not self.holes:
            return []
        progress = {start: IntervalSet(parts) for start, parts in self.progress(packets).items()}
        left = []
        for hole in self.holes:
            taken = progress.get(hole.start_id) or self.taken.get(hole.start_id) or IntervalSet()
            if taken.missing(hole.first_seq, hole.last_seq):
                arrived = sum(p.frames or 0 for p in packets if _inside(p.number, hole))
                left.append(Hole(hole.start_id, hole.first_seq, hole.last_seq, hole.frames - arrived))
        return left

    def committed(self, packets: list[Packet]) -> None:
        """These packets are recorded."""
        self.holes = self.holes_after(packets)
        for packet in packets:
            self.taken[packet.number.start_id].add(packet.first_seq, packet.number.seq)
            self.pending.discard(packet.number)

    def dropped(self, packets: Iterable[Packet]) -> None:
        """These packets will not be recorded; their connection ends, and they come again on another."""
        self.pending.difference_update(packet.number for packet in packets)

    def _hole(self, listed: BacklogRange, count_taken: CountTaken) -> Hole | None:
        taken = self.taken.get(listed.start_id) or IntervalSet()
        missing = taken.missing(listed.first_seq, listed.last_seq)
        if not missing:
            return None
        whole = missing == [(listed.first_seq, listed.last_seq)]
        here = 0 if whole else count_taken(listed.start_id, listed.first_seq, listed.last_seq)
        return Hole(listed.start_id, listed.first_seq, listed.last_seq, max(0, listed.frames - here))

    def _gone(self, holes: list[Hole]) -> list[Packet]:
        """Holes that are none of these any more, as gaps; the last of each start carries its whole count."""
        gaps = []
        for start_id in dict.fromkeys(hole.start_id for hole in self.holes):
            old = [hole for hole in self.holes if hole.start_id == start_id]
            covered = self.taken[start_id].copy()
            for hole in holes:
                if hole.start_id == start_id:
                    covered.add(hole.first_seq, hole.last_seq)
            lost = IntervalSet(p for hole in old for p in covered.missing(hole.first_seq, hole.last_seq))
            known = max(hole.last_seq for hole in old)
            kept = sum(h.frames for h in holes if h.start_id == start_id and h.first_seq <= known)
            frames = max(0, sum(hole.frames for hole in old) - kept)
            for first, last in reversed(list(lost)):
                gap = Gap(GapReason.ANNOUNCED, first, frames)
                gaps.append(Packet(PacketNumber(start_id, last), gap))
                frames = 0
        return gaps


def _inside(number: PacketNumber, hole: Hole) -> bool:
    return number.start_id == hole.start_id and hole.first_seq <= number.seq <= hole.last_seq


class LaneConnection:
    """One lane on one data connection: remembers what came in which range, in order, until it is acked."""

    __slots__ = ("_backlog", "_next_live", "_received", "lane", "receiver", "start_id")

    def __init__(self, receiver: LaneReceiver, hello: LaneHello, start_id: str) -> None:
        self.receiver = receiver
        self.lane = hello.lane
        self.start_id = start_id
        self._next_live = max(hello.next_seq, receiver.taken[start_id].prefix() + 1)
        self._backlog: dict[str, IntervalSet] = {}
        for listed in hello.backlog:
            self._backlog.setdefault(listed.start_id, IntervalSet()).add(listed.first_seq, listed.last_seq)
        self._received: dict[RangeKind, deque[PacketNumber]] = {kind: deque() for kind in RangeKind}

    def received(self, kind: RangeKind, packet: Packet) -> bool:
        """Whether to store it. Raises SessionError where hello did not announce such a number."""
        number = packet.number
        if kind is RangeKind.LIVE:
            if number.start_id != self.start_id or packet.first_seq != self._next_live:
                raise SessionError(
                    f"live packet {packet.first_seq} of start {number.start_id} came "
                    f"where {self._next_live} of {self.start_id} was due"
                )
            self._next_live = number.seq + 1
        else:
            announced = self._backlog.get(number.start_id) or IntervalSet()
            if announced.missing(packet.first_seq, number.seq):
                raise SessionError(
                    f"backlog packet {number.seq} of start {number.start_id} was not announced"
                )
        self._received[kind].append(number)
        return self.receiver.received(packet)

    def acks(self) -> list[tuple[RangeKind, PacketNumber]]:
        """At most one ack for each range: the last number up to which all that came is recorded."""
        out = []
        for kind, numbers in self._received.items():
            last = None
            while numbers and self.receiver.is_taken(numbers[0]):
                last = numbers.popleft()
            if last is not None:
                out.append((kind, last))
        return out
