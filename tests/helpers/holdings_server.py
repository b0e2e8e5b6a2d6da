"""A server's half of one lane by the rules of the wire protocol, as plain sets of positions: what an agent's
half is held against. Slow, and in no words of the product's."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import LaneHello, StartBooks
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, Packet

Position = tuple[str, int]


@dataclass
class Start:
    """What is stored of one start: positions, and the numbers of what is stored for good."""

    recorded: dict[int, int] = field(default_factory=dict)
    in_gaps: set[int] = field(default_factory=set)
    final: set[int] = field(default_factory=set)
    end: int = 0

    @property
    def holes(self) -> set[int]:
        return set(range(self.end)) - set(self.recorded) - self.in_gaps


class HoldingsServer:
    """`told`: every frame's position that an agent has ever spoken of. A frame's id is its arbitration id."""

    def __init__(self) -> None:
        self.starts: dict[str, Start] = {}
        self.order: list[PacketNumber] = []
        self.ever: set[int] = set()
        self.cut()

    def cut(self) -> None:
        self._listed: list[tuple[str, int, int]] = []
        self._next_live: tuple[str, int] | None = None
        self._came: dict[RangeKind, deque[Packet]] = {kind: deque() for kind in RangeKind}
        self._pending: list[Packet] = []

    def hello(
        self, hello: LaneHello, start_id: str, still_held: set[Position]
    ) -> tuple[int, list[StartBooks]]:
        """`taken_through` and books. Whoever is said to be lost must be with nobody any more."""
        self.cut()
        listed: set[Position] = set()
        for one in hello.backlog:
            assert one.position is not None
            listed |= {(one.start_id, x) for x in range(one.position, one.position + one.frames)}
            self._known(one.start_id, one.position + one.frames)
            self._listed.append((one.start_id, one.first_seq, one.last_seq))
        for entry in hello.starts:
            self._known(entry.start_id, entry.frames)
            if hello.complete:
                start = self.starts[entry.start_id]
                lost = {x for x in start.holes if (entry.start_id, x) not in listed}
                wrong = {(entry.start_id, x) for x in lost} & still_held
                assert not wrong, f"said to be lost and still held: {sorted(wrong)}"
                start.in_gaps |= lost
        own = self.starts.setdefault(start_id, Start())
        through = 0
        while through + 1 in own.final:
            through += 1
        self._next_live = (start_id, max(hello.next_seq, through + 1))
        named = dict.fromkeys([*(one.start_id for one in hello.backlog), *(e.start_id for e in hello.starts)])
        return through, [self.books(name) for name in named]

    def books(self, start_id: str) -> StartBooks:
        start = self.starts[start_id]
        return StartBooks(start_id, len(start.recorded), len(start.in_gaps), len(start.holes))

    def receive(self, kind: RangeKind, packet: Packet) -> None:
        start_id, seq = packet.number
        if kind is RangeKind.LIVE:
            assert self._next_live == (start_id, packet.first_seq), "a live packet out of its turn"
            self._next_live = (start_id, seq + 1)
        else:
            numbers = set(range(packet.first_seq, seq + 1))
            listed = {
                n for start, first, last in self._listed if start == start_id for n in range(first, last + 1)
            }
            assert numbers <= listed, "a packet of backlog that no range listed"
        self._came[kind].append(packet)
        self._pending.append(packet)

    def commit(self) -> list[tuple[RangeKind, PacketNumber]]:
        """Stores what has come, and acknowledges it."""
        for packet in self._pending:
            self._store(packet)
        self._pending = []
        acks = [(kind, came[-1].number) for kind, came in self._came.items() if came]
        for came in self._came.values():
            came.clear()
        return acks

    def _known(self, start_id: str, end: int) -> None:
        start = self.starts.setdefault(start_id, Start())
        start.end = max(start.end, end)

    def _store(self, packet: Packet) -> None:
        start_id, seq = packet.number
        assert packet.position is not None
        self._known(start_id, packet.position + (packet.frames or 0))
        start = self.starts[start_id]
        span = range(packet.position, packet.position + (packet.frames or 0))
        if isinstance(packet.body, Gap):
            start.in_gaps |= set(span) - set(start.recorded)
            if not packet.body.reason.was_a_packet:
                start.final.add(seq)
            return
        start.final.add(seq)
        if not isinstance(packet.body, FrameBatch) or span[0] in start.recorded:
            return
        self.order.append(packet.number)
        for position, frame in zip(span, packet.body.arbitration_id.tolist(), strict=True):
            assert frame not in self.ever, f"frame {frame} recorded twice"
            self.ever.add(frame)
            start.recorded[position] = frame
            start.in_gaps.discard(position)
