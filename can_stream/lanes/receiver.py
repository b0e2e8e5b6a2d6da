"""The server's half of a lane: what is stored, and what may be acknowledged.

A `LaneReceiver` mirrors what storage holds of the starts that the current connection named; a
`LaneConnection` lives as long as one data connection. A hello gives an `Opening`, which is stored before it
is answered. Packets that `received` calls new are stored in one transaction with what `change` says; only
after that commit `committed` is called, and only then does `LaneConnection.acks` name them. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import TypeAlias

from msgspec import Struct, field

from can_stream.lanes.holdings import Found, NewGap, is_final
from can_stream.lanes.intervals import IntervalSet
from can_stream.lanes.opening import Start
from can_stream.protocol.errors import SessionError
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import LaneHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Packet

_Key: TypeAlias = tuple[PacketNumber, bool]
"""A gap that stands for a packet says something else than the packet does."""


class Arrival(Enum):
    """Where a packet stands that has come."""

    WAITING = auto()
    STORED = auto()
    GIVEN_UP = auto()


class Received(Struct, eq=False):
    """A packet that has come. One that was given up holds up the acks of all behind it."""

    number: PacketNumber
    arrival: Arrival


class Change(Struct, frozen=True):
    """What storing packets changes. `starts`: those concerned, as they are afterwards.

    `accepted`: for each packet whether something of it is new; `gaps` are recorded before what is `found`.
    """

    starts: dict[str, Start]
    accepted: list[bool]
    gaps: list[NewGap]
    found: list[Found]


class LaneReceiver(Struct):
    """What the server knows of one lane of one dongle."""

    starts: dict[str, Start] = field(default_factory=dict)
    pending: dict[_Key, Received] = field(default_factory=dict)

    def received(self, packet: Packet) -> tuple[Received, bool]:
        """A packet has come, and whether it must be stored; not where it is stored or about to be.

        SessionError where it contradicts what is recorded.
        """
        number = packet.number
        key = (number, is_final(packet))
        waiting = self.pending.get(key)
        if waiting is not None:
            return waiting, False
        start = self.starts.get(number.start_id)
        if start is not None and not start.is_new(packet):
            return Received(number, Arrival.STORED), False
        entry = self.pending[key] = Received(number, Arrival.WAITING)
        return entry, True

    def change(self, packets: Sequence[Packet], now_seconds: float) -> Change:
        """What storing these changes, in their order. SessionError where they contradict each other."""
        starts: dict[str, Start] = {}
        accepted, gaps, found = [], list[NewGap](), list[Found]()
        for packet in packets:
            start_id = packet.number.start_id
            start = starts.get(start_id)
            if start is None:
                start = starts[start_id] = self.starts[start_id].copy()
            taken = start.take(packet, now_seconds)
            accepted.append(taken is not None)
            if taken is not None:
                if taken.gap is not None:
                    gaps.append(taken.gap)
                if taken.found is not None:
                    found.append(taken.found)
        return Change(starts, accepted, gaps, found)

    def committed(self, packets: Iterable[Packet], change: Change) -> None:
        """These packets and what they change are in storage."""
        self.starts.update(change.starts)
        self._settle(packets, Arrival.STORED)

    def dropped(self, packets: Iterable[Packet]) -> None:
        """These packets will not be recorded; their connection ends, and they come again on another."""
        self._settle(packets, Arrival.GIVEN_UP)

    def _settle(self, packets: Iterable[Packet], arrival: Arrival) -> None:
        for packet in packets:
            entry = self.pending.pop((packet.number, is_final(packet)), None)
            if entry is not None:
                entry.arrival = arrival


class LaneConnection:
    """One lane on one data connection: remembers what came in which range, in order, until it is acked."""

    __slots__ = ("_backlog", "_next_live", "_received", "lane", "receiver", "start_id")

    def __init__(self, receiver: LaneReceiver, hello: LaneHello, start_id: str) -> None:
        self.receiver = receiver
        self.lane = hello.lane
        self.start_id = start_id
        self._next_live = max(hello.next_seq, receiver.starts[start_id].through + 1)
        self._backlog: dict[str, IntervalSet] = {}
        for listed in hello.backlog:
            self._backlog.setdefault(listed.start_id, IntervalSet()).add(listed.first_seq, listed.last_seq)
        self._received: dict[RangeKind, deque[Received]] = {kind: deque() for kind in RangeKind}

    def received(self, kind: RangeKind, packet: Packet) -> bool:
        """Whether to store it. Raises SessionError where hello did not announce such a number."""
        number = packet.number
        if kind is RangeKind.LIVE:
            if number.start_id != self.start_id or packet.first_seq != self._next_live:
                raise SessionError(
                    f"live packet {packet.first_seq} of start {number.start_id} came "
                    f"where {self._next_live} of {self.start_id} was due"
                )
        else:
            announced = self._backlog.get(number.start_id) or IntervalSet()
            if announced.missing(packet.first_seq, number.seq):
                raise SessionError(
                    f"backlog packet {number.seq} of start {number.start_id} was not announced"
                )
        entry, is_new = self.receiver.received(packet)
        if kind is RangeKind.LIVE:
            self._next_live = number.seq + 1
        self._received[kind].append(entry)
        return is_new

    def acks(self) -> list[tuple[RangeKind, PacketNumber]]:
        """At most one ack for each range: the last number up to which all that came is recorded."""
        out = []
        for kind, entries in self._received.items():
            last = None
            while entries and entries[0].arrival is Arrival.STORED:
                last = entries.popleft().number
            if last is not None:
                out.append((kind, last))
        return out
