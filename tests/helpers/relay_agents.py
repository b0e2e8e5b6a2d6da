"""Agents of a group as a test plays them: one whose frames are relayed, one whose bus is written to."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp
import msgspec

from can_stream.protocol.control import (
    SUBPROTOCOLS,
    Error,
    RelaySide,
    RelaySource,
    decode_server_control_message,
    encode_control_message,
)
from can_stream.protocol.hop import (
    Age,
    Envelope,
    HopEncoder,
    RangeKind,
    decode_ping,
)
from can_stream.protocol.lanes_control import LaneHello, LanesHello, LanesWelcome, decode_data_down
from can_stream.protocol.marker import Marker
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import decode_packet, encode_frames, encode_marker
from can_stream.protocol.relay_control import (
    Credit,
    Cursor,
    Directions,
    RelayHello,
    RelayPing,
    RelayPong,
    Settled,
    SinkHello,
    SinkState,
    Totals,
    decode_to_sink,
)
from can_stream.protocol.relay_items import Counts, Item, ItemDecoder
from tests.helpers.api_server import Api
from tests.helpers.server_parts import frames

V2: Final = SUBPROTOCOLS[0]
ALLOWS: Final = RelaySide(source=True, transmit=True, confirms="bus", max_age_seconds=30.0)
CREDIT: Final = 1_000_000


def listed(dongle_id: str, allows: RelaySide = ALLOWS, **more: Any) -> dict[str, Any]:
    """A dongle of a hello."""
    found: dict[str, Any] = {"dongle_id": dongle_id, "interface": "socketcan", "channel": "can0"}
    return found | {"bitrate": 500_000, "relay": msgspec.to_builtins(allows)} | more


async def greets(api: Api, agent_id: str, dongles: list[dict[str, Any]]) -> aiohttp.ClientWebSocketResponse:
    """A control connection of an agent that knows of a relay; `welcome` is read."""
    return await api.hello(V2, agent_id=agent_id, dongles=dongles, protocol=2, relay=True)


async def told(control: aiohttp.ClientWebSocketResponse) -> RelaySource:
    """The next `relay_source`."""
    while True:
        said = decode_server_control_message(await control.receive_str(timeout=10))
        if isinstance(said, RelaySource):
            return said


class Source:
    """The frames lane of one dongle. Its packets are a frame each; what is numbered n is its nth packet."""

    def __init__(self, api: Api, dongle_id: str, start_id: str) -> None:
        self.start_id = start_id
        self._api = api
        self._dongle_id = dongle_id
        self._encoder = HopEncoder(2)
        self.seq = 1
        self.position = 0
        self.ping = 0

    async def connect(self) -> LanesWelcome:
        """A new data connection, and the first ping of it where there is one."""
        self.socket = await self._api.data(V2)
        self._encoder = HopEncoder(2)
        lane = LaneHello(self._dongle_id, "frames", self.seq, [], self.position, complete=True)
        hello = LanesHello(self.start_id, [lane], 2, ages=True)
        await self.socket.send_str(encode_control_message(hello))
        welcome = decode_data_down(await self.socket.receive_str(timeout=10))
        assert isinstance(welcome, LanesWelcome)
        assert welcome.ages
        return welcome

    async def pinged(self) -> None:
        """Wait for a ping; acks are passed over."""
        number = None
        while number is None:
            number = decode_ping(await self.socket.receive_bytes(timeout=10))
        self.ping = number

    async def mark(self, activation: str) -> None:
        """What follows is carried for it."""
        number = PacketNumber(self.start_id, self.seq)
        await self._send(encode_marker(number, Marker(activation), self.position), Age(0, self.ping, 0))

    async def frame(self, age_us: int | None = 0) -> int:
        """One frame. Its position."""
        number = PacketNumber(self.start_id, self.seq)
        packet = encode_frames(number, frames(self.seq % 200), 1000, self.position)
        await self._send(packet, Age(age_us, self.ping, 0))
        self.position += 1
        return self.position - 1

    async def _send(self, packet: bytes, age: Age) -> None:
        await self.socket.send_bytes(self._encoder.encode(Envelope(0, RangeKind.LIVE, packet, age)))
        self.seq += 1


class SinkOfTest:
    """A gateway that settles what it is told to."""

    def __init__(self, api: Api, dongle_id: str, record_id: str = "ab" * 16) -> None:
        self._api = api
        self.dongle_id = dongle_id
        self.record_id = record_id
        self.cursors: dict[str, Cursor] = {}
        self.directions = Directions([])

    async def connect(self, credit: int | None = CREDIT) -> Directions:
        """A new connection: hello, directions, credit for so many frames; None: not heard."""
        self.socket = await self._api.relay(V2)
        self._decoder = ItemDecoder()
        sink = SinkHello(self.dongle_id, self.record_id, list(self.cursors.values()))
        await self.say(RelayHello("00000000000000d4", [sink]))
        return await self.directed(credit)

    async def directed(self, credit: int | None = CREDIT) -> Directions:
        """The next directions, answered by credit."""
        while not isinstance(said := await self.next(), Directions):
            pass
        if credit is not None:
            await self.say(Credit(self.dongle_id, credit, said.number))
        self.directions = said
        return said

    async def say(self, message: RelayHello | RelayPing | Settled | Credit | SinkState) -> None:
        await self.socket.send_str(encode_control_message(message))

    async def next(self) -> Item | Counts | Directions | RelayPong | Error:
        """The next thing that comes."""
        message = await self.socket.receive(timeout=10)
        if message.type is aiohttp.WSMsgType.BINARY:
            return self._decoder.decode(message.data)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return decode_to_sink(message.data)

    async def positions(self, count: int) -> list[int]:
        """Where the next items begin, as many as that."""
        found: list[int] = []
        async with asyncio.timeout(10):
            while len(found) < count:
                item = await self.next()
                assert isinstance(item, Item), item
                packet = decode_packet(item.packet)
                assert packet.position is not None
                found.append(packet.position)
        return found

    async def counts(self) -> Counts:
        """The next thing, which is counts."""
        said = await self.next()
        assert isinstance(said, Counts), said
        return said

    async def leases(self, number: int) -> list[str]:
        """The activations that a ping is answered with."""
        return (await self.pong(number)).activations

    async def pong(self, number: int) -> RelayPong:
        """What a ping is answered with."""
        await self.say(RelayPing(number))
        while not isinstance(said := await self.next(), RelayPong):
            pass
        assert said.number == number
        return said

    async def settle(self, source_dongle_id: str, start_id: str, position: int, totals: Totals) -> None:
        """All below the position is settled."""
        self.cursors[start_id] = Cursor(source_dongle_id, start_id, position, totals)
        await self.say(Settled(self.dongle_id, self.cursors[start_id]))
