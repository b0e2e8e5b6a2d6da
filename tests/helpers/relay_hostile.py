"""A gateway's sink behind a server that says anything: what it may have put on the bus is told by the test's
own books, which know nothing of the sink's."""

from __future__ import annotations

import contextlib
from random import Random
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of
from can_stream.protocol.control import encode_control_message
from can_stream.protocol.deflate import Deflater, Inflater
from can_stream.protocol.errors import WireError
from can_stream.protocol.packets import decode_packet
from can_stream.protocol.relay_control import (
    Direction,
    Directions,
    RelayPing,
    RelayPong,
    decode_from_sink,
    decode_to_sink,
)
from can_stream.protocol.relay_items import Handed, Item, ItemDecoder, ItemEncoder
from edge_agent.config.transmit import AllowEntry, RelaySection, ReplayRule
from edge_agent.relay.bus_facts import BusFacts
from edge_agent.relay.downlink.session import RelaySession
from edge_agent.relay.record import MAX_BURST, RECORD_BYTES, Record
from edge_agent.relay.sink import Sink, SinkLimits
from edge_agent.transmit.policy import RelayPolicy, TargetBus
from tests.helpers.relay_sink_world import Memory

MS: Final = 1_000_000
SINK_ID: Final = "van9-can0"
ALLOWED, NEVER = 0x101, 0x102
MAX_AGE_NS, LEASE_NS = 2_000 * MS, 500 * MS
SECTION: Final = RelaySection(
    transmit="allowlist",
    allow=[AllowEntry(ALLOWED), AllowEntry(NEVER)],
    max_age_seconds=MAX_AGE_NS / 1e9,
    policy=[ReplayRule(NEVER, "never")],
)
FREE: Final = BusFacts(TargetBus(listen_only=False, fd=False), "bus", bit_rate=500_000)
FORBIDDING: Final = (
    {"asleep": True}, {"disabled": True}, {"gate_closed": True}, {"is_up": False}, {"confirms": "none"},
    {"bit_rate": None}, {"target": TargetBus(listen_only=True, fd=False)},
)  # fmt: skip


class Heard(Struct):
    """A frame that was handed: since when it may exist (None: unknown), and where it is in its start."""

    born_ns: int | None
    flags: int
    place: tuple[str, int]


class HostileGateway:
    """`hear` is one message of the server; whatever goes to the bus meanwhile is looked at.

    Nothing is on the bus but what the file allows, no own echo, nothing too old, nothing without a lease,
    nothing that was handed before the last directions, no place of a start twice within one record.
    """

    def __init__(self) -> None:
        self.now_ns = 10**12
        self.facts = FREE
        self.memory = Memory(RECORD_BYTES)
        self.bus: list[bytes] = []
        self.broken = 0
        self._starts = 0
        self._went: set[tuple[str, str, int]] = set()
        self._lease: tuple[int, list[str]] | None = None
        self.start()

    # -- the gateway

    def start(self) -> None:
        """A process begins."""
        self._starts += 1
        record = Record(self.memory, "boot", f"{self._starts:032x}", self.now_ns)
        limits = SinkLimits(MAX_AGE_NS / 1e9, LEASE_NS / 1e9, 1.0, 1.0)
        self.sink = Sink(SINK_ID, record, RelayPolicy(SECTION), limits, self.now_ns)
        self.connect()

    def connect(self) -> None:
        """A connection takes the place of the one before; any server must be able to read the hello."""
        self.session = RelaySession({SINK_ID: self.sink})
        hello = self.session.hello("0123456789abcdef")
        assert decode_from_sink(encode_control_message(hello)) == hello
        self.hello = hello.sinks[0]
        self._inflater, self._encoder = Inflater(), ItemEncoder()
        self._ready: dict[bytes, list[Heard]] = {}
        self._pings: dict[int, int] = {}
        self._answered = 0
        self._direction: Direction | None = None

    def ping(self) -> int:
        """Its number."""
        said = self.session.ping(self.now_ns)
        assert isinstance(said, RelayPing)
        self._pings[said.number] = self.now_ns
        return said.number

    def hear(self, content: str | bytes) -> bool:
        """Whether the connection is still open."""
        self._note(content)
        try:
            self.session.take(content, self.now_ns)
        except WireError:
            self.broken += 1
            self.session.end(self.now_ns)
            self._ready.clear()
            self.pump()
            self.connect()
            return False
        self.pump()
        return True

    def say(self, said: Handed) -> bool:
        """What is handed, in its turn."""
        return self.hear(self._encoder.encode(said))

    def pass_time(self, nanoseconds: int) -> None:
        """And whoever may send does."""
        self.now_ns += nanoseconds
        self.sink.tick(self.now_ns)
        self.pump()

    def pump(self) -> None:
        """Bursts go out and come back, as long as there are any."""
        if self.sink.must_empty:
            self.sink.emptied(self.now_ns)
        for _ in range(3_000):
            burst = self.sink.next_burst(self.now_ns, self.facts)
            if burst is None:
                break
            self._look_at(burst)
            self.sink.written(len(burst), self.now_ns)
            self.sink.echoed(replace(burst, flags=burst.flags | int(FrameFlag.TX)), self.now_ns)
        for said in self.session.reports(self.now_ns):
            assert decode_from_sink(encode_control_message(said)) == said

    # -- the books of the test

    def _note(self, content: str | bytes) -> None:
        with contextlib.suppress(WireError):
            if isinstance(content, bytes):
                self._note_handed(content)
                return
            said = decode_to_sink(content)
            if isinstance(said, RelayPong):
                self._note_pong(said)
            elif isinstance(said, Directions):
                self._ready.clear()
                mine = [one for one in said.directions if one.sink_dongle_id == SINK_ID]
                self._direction = mine[0] if mine else None
                if self._direction is not None and self._direction.begins_anew:
                    self._went.clear()

    def _note_pong(self, said: RelayPong) -> None:
        sent_ns = self._pings.get(said.number)
        if sent_ns is not None and said.number > self._answered:
            self._answered = said.number
            self._lease = (sent_ns, list(said.activations))

    def _note_handed(self, content: bytes) -> None:
        plain = self._inflater.unpack(content)
        handed = ItemDecoder().decode(Deflater().pack(plain))
        if not isinstance(handed, Item):
            return
        packet = decode_packet(handed.packet)
        if not isinstance(packet.body, FrameBatch) or packet.position is None:
            return
        age, sent_ns, born_ns = handed.age, self._pings.get(handed.age.ping), None
        if sent_ns is not None and age.age_us is not None and sent_ns + age.held_us * 1000 <= self.now_ns:
            born_ns = sent_ns + (age.held_us - age.age_us) * 1000
        for row, key in enumerate(contents(packet.body)):
            place = (packet.number.start_id, packet.position + row)
            self._ready.setdefault(key, []).append(Heard(born_ns, int(packet.body.flags[row]), place))

    def _look_at(self, burst: FrameBatch) -> None:
        assert self.facts is FREE, "a frame leaves where nothing may"
        assert len(burst) <= MAX_BURST
        direction, lease = self._direction, self._lease
        assert direction is not None, "a frame leaves for no direction"
        assert not direction.dry_run, "a frame leaves in a dry run"
        assert lease is not None, "a frame leaves without a lease"
        assert direction.activation in lease[1], "a frame leaves without a lease of its activation"
        assert self.now_ns - lease[0] <= LEASE_NS, "a frame leaves after its lease"
        for key, arbitration_id in zip(contents(burst), burst.arbitration_id.tolist(), strict=True):
            assert arbitration_id == ALLOWED, f"frame {arbitration_id:x} is not allowed"
            heard = self._ready.get(key, [])
            assert heard, "a frame leaves that was not handed since the directions"
            fitting = [one for one in heard if self._may_go(one, direction.source_dongle_id)]
            assert fitting, f"a frame leaves that may not: {heard}"
            self._went.add((direction.source_dongle_id, *fitting[0].place))
            self.bus.append(key)

    def _may_go(self, one: Heard, source: str) -> bool:
        is_young = one.born_ns is not None and 0 <= self.now_ns - one.born_ns <= MAX_AGE_NS
        is_other = not one.flags & int(FrameFlag.TX | FrameFlag.ERROR)
        return is_young and is_other and (source, *one.place) not in self._went


def contents(frames: FrameBatch) -> list[bytes]:
    """Id, kind and data of each."""
    kinds = (frames.flags & 0x1F).tolist()
    rows = zip(frames.arbitration_id.tolist(), kinds, frames.data, strict=True)
    return [
        f"{arbitration_id:x} {kind:x} ".encode() + bytes(data).rstrip(b"\0")
        for arbitration_id, kind, data in rows
    ]


def numbered(ids: list[tuple[int, int]], number: int) -> FrameBatch:
    """Frames of these ids and flags whose data are `number` and the numbers behind it."""
    rows: list[Any] = [
        (0, arbitration_id, flags, 8, b"" if flags & FrameFlag.REMOTE else (number + row).to_bytes(8, "big"))
        for row, (arbitration_id, flags) in enumerate(ids)
    ]
    return batch_of(rows)


def chosen_facts(chance: Random) -> BusFacts:
    """Mostly one that may be written to."""
    return FREE if chance.random() < 0.7 else replace(FREE, **chance.choice(FORBIDDING))
