"""One connection of /ws/relay as its rules see it: what came is given to the sinks, what they have to say is
gathered. docs/wire-protocol.md, section 9."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.control import Error
from can_stream.protocol.errors import PacketError, SessionError
from can_stream.protocol.packets import decode_packet
from can_stream.protocol.relay_control import (
    Credit,
    Direction,
    Directions,
    FromSink,
    GroupStanding,
    RelayHello,
    RelayPing,
    RelayPong,
    Settled,
    SinkState,
    decode_to_sink,
    newest_that_fit,
)
from can_stream.protocol.relay_items import Counts, Item, ItemDecoder
from edge_agent.relay.downlink.pings import Pings
from edge_agent.relay.sink import Sink

# Credit is said again where it has grown by so many frames: of what a sink takes at once a small part.
CREDIT_STEP: Final = 250
STATE_NS: Final = 1_000_000_000


class RelaySession:
    """What arrives at `take` goes to `sinks`, by their dongles; `reports` is what is to be said since.

    Times are nanoseconds of CLOCK_BOOTTIME. Whatever breaks the rules raises WireError, and the connection
    must end; nothing of that message is sent. `directions` are the last ones, by the dongle they lead to,
    `groups` what was said last of the groups of dongles.
    """

    def __init__(self, sinks: Mapping[str, Sink]) -> None:
        self.directions: dict[str, Direction] = {}
        self.groups: dict[str, GroupStanding] = {}
        self.is_directed = False
        self._sinks = sinks
        self._pings = Pings()
        self._decoder = ItemDecoder()
        self._by_index: list[Sink] = []
        self._credit_told: dict[str, int] = {}
        self._states_told: dict[str, SinkState] = {}
        self._states_due_ns = self._number = 0

    def hello(self, start_id: str) -> RelayHello:
        """The first message."""
        hellos = [sink.hello() for sink in self._sinks.values()]
        fitting = newest_that_fit([hello.cursors for hello in hellos])
        return RelayHello(
            start_id, [replace(hello, cursors=some) for hello, some in zip(hellos, fitting, strict=True)]
        )

    def ping(self, now_ns: int) -> RelayPing:
        """A ping that is sent now."""
        return RelayPing(self._pings.send(now_ns))

    def unanswered_ns(self, now_ns: int) -> int:
        """For how long the oldest ping without an answer waits for one."""
        since_ns = self._pings.unanswered_since_ns()
        return 0 if since_ns is None else now_ns - since_ns

    def take(self, content: str | bytes, now_ns: int) -> Error | None:
        """One message of the server; an error that it says is returned. Raises WireError."""
        if isinstance(content, bytes):
            self._take_handed(content, now_ns)
            return None
        said = decode_to_sink(content)
        if isinstance(said, Error):
            return said
        if isinstance(said, RelayPong):
            self._take_pong(said)
        else:
            self._take_directions(said, now_ns)
        return None

    def reports(self, now_ns: int) -> list[FromSink]:
        """What has become of frames, room for more, and how the sinks stand, each second at most."""
        if not self.is_directed:
            return []
        said: list[FromSink] = []
        for dongle_id, sink in self._sinks.items():
            said += [Settled(dongle_id, cursor) for cursor in sink.moved()]
            if dongle_id in self.directions:
                said += self._credit(dongle_id, sink)
        if now_ns >= self._states_due_ns or self._has_new_loop():
            self._states_due_ns = now_ns + STATE_NS
            said += self._states()
        return said

    def end(self, now_ns: int) -> None:
        """The connection is over: nothing is sent to a bus by what it said."""
        for sink in self._sinks.values():
            sink.disconnected(now_ns)

    def _take_directions(self, said: Directions, now_ns: int) -> None:
        names = [direction.sink_dongle_id for direction in said.directions]
        if len(set(names)) < len(names):
            raise SessionError("two directions lead to one dongle")
        if strange := next((name for name in names if name not in self._sinks), None):
            raise SessionError(f"a direction leads to {strange}, which was not offered")
        for direction in said.directions:
            before = self.directions.get(direction.sink_dongle_id)
            if before is None or before.activation != direction.activation:
                self._states_told.pop(direction.sink_dongle_id, None)
        self.directions = dict(zip(names, said.directions, strict=True))
        for dongle_id, sink in self._sinks.items():
            sink.directed(self.directions.get(dongle_id), now_ns)
        self._by_index = [self._sinks[name] for name in names]
        self._credit_told.clear()
        self._number = said.number
        self.is_directed = True

    def _take_pong(self, said: RelayPong) -> None:
        if said.groups is not None:
            self.groups = {
                one.sink_dongle_id: one for one in said.groups if one.sink_dongle_id in self._sinks
            }
        sent_ns = self._pings.answered(said.number)
        if sent_ns is not None:
            for sink in self._sinks.values():
                sink.leased(sent_ns, said.activations)

    def _take_handed(self, content: bytes, now_ns: int) -> None:
        handed = self._decoder.decode(content)
        if handed.direction >= len(self._by_index):
            raise SessionError(f"direction {handed.direction} is none of {len(self._by_index)}")
        sink = self._by_index[handed.direction]
        if isinstance(handed, Counts):
            sink.take_counts(handed, now_ns)
        else:
            self._take_item(sink, handed, now_ns)

    def _take_item(self, sink: Sink, item: Item, now_ns: int) -> None:
        packet = decode_packet(item.packet)
        if not isinstance(packet.body, FrameBatch) or packet.position is None:
            raise PacketError("a packet of frames that says its position expected")
        born_ns = self._pings.born_ns(item.age, now_ns)
        start_id = packet.number.start_id
        transit_ns = None
        if born_ns is not None and item.age.age_us is not None:
            transit_ns = now_ns - born_ns - item.age.age_us * 1000
        sink.take_item(
            start_id, packet.position, packet.body, born_ns, item.fresh, now_ns, transit_ns, item.from_log
        )

    def _credit(self, dongle_id: str, sink: Sink) -> list[FromSink]:
        told = self._credit_told.get(dongle_id)
        if told is not None and sink.credit - told < CREDIT_STEP:
            return []
        self._credit_told[dongle_id] = sink.credit
        return [Credit(dongle_id, sink.credit, self._number)]

    def _has_new_loop(self) -> bool:
        """Whether the group is to be stopped: that is said at once."""
        told = {name: state.waits_for for name, state in self._states_told.items()}
        return any(
            sink.waits_for.startswith("loop") and sink.waits_for != told.get(name)
            for name, sink in self._sinks.items()
        )

    def _states(self) -> list[FromSink]:
        changed: list[FromSink] = []
        for dongle_id, sink in self._sinks.items():
            direction = self.directions.get(dongle_id)
            activation = None if direction is None else direction.activation
            state = SinkState(dongle_id, sink.waits_for, sink.take_latency_ms(), activation)
            if state != self._states_told.get(dongle_id):
                self._states_told[dongle_id] = state
                changed.append(state)
        return changed
