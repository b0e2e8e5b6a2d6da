"""A server in the test's own event loop that hands frames to an agent's sinks, and keeps what they say."""

from __future__ import annotations

import asyncio
import time
from typing import Final, TypeVar

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.control import encode_control_message
from can_stream.protocol.hop import Age
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import encode_frames
from can_stream.protocol.relay_control import (
    Credit,
    Cursor,
    Direction,
    Directions,
    FromSink,
    RelayHello,
    RelayPing,
    RelayPong,
    Settled,
    ToSink,
    decode_from_sink,
)
from can_stream.protocol.relay_items import Handed, Item, ItemEncoder
from tests.helpers.conditions import DEADLINE_SECONDS, Gathered
from tests.helpers.uplink_server import UplinkServer

ON: Final = "ab" * 16 + "-1"
START: Final = "0123456789abcdef"
SOURCE: Final = "truck-c"
T = TypeVar("T", RelayHello, RelayPing, Settled, Credit)


class RelayServer(UplinkServer):
    """What `UplinkServer` is, and the other end of /ws/relay. It directs each sink that says hello to itself.

    `answers`: whether it answers pings, with `activations`. `opened`: how often /ws/relay was; `closed`: with
    which codes it ended.
    """

    def __init__(self) -> None:
        super().__init__(acks=True)
        self.answers = True
        self.activations = [ON]
        self.opened = 0
        self.closed: Gathered[int | None] = Gathered()
        self.relayed: Gathered[FromSink] = Gathered()
        self.cursors: dict[str, Cursor] = {}
        self.record_id: str | None = None
        self._relay: ServerConnection | None = None
        self._encoder = ItemEncoder()
        self._ping = 0
        self._ping_came_ns = 0

    async def serve(self, connection: ServerConnection) -> None:
        """One connection of an agent."""
        assert connection.request is not None
        if connection.request.path != "/ws/relay":
            await super().serve(connection)
            return
        self.opened += 1
        self._relay, self._encoder, self._ping = connection, ItemEncoder(), 0
        try:
            async for content in connection:
                await self._take(decode_from_sink(content))
        except ConnectionClosed:
            pass
        self.closed.append(connection.close_code)

    def relay_says(self, kind: type[T]) -> list[T]:
        """What it was told of this kind."""
        return [one for one in self.relayed if isinstance(one, kind)]

    async def until_relay_says(self, kind: type[T], count: int = 1) -> list[T]:
        """What it was told of this kind, once that is so much."""
        while len(self.relay_says(kind)) < count:
            await self.relayed.until(len(self.relayed) + 1)
        return self.relay_says(kind)

    async def until_settled(self, position: int, timeout_seconds: float = DEADLINE_SECONDS) -> Cursor:
        """The cursor of START once all below `position` is settled."""
        async with asyncio.timeout(timeout_seconds):
            while (at := self.cursors.get(START)) is None or at.position < position:
                await self.relayed.until(len(self.relayed) + 1)
        return at

    async def say_to_sink(self, said: ToSink | str | bytes) -> None:
        """This, to the letter."""
        assert self._relay is not None
        await self._relay.send(said if isinstance(said, str | bytes) else encode_control_message(said))

    def cut(self) -> None:
        """The connection is gone without a goodbye; the next one is welcome."""
        assert self._relay is not None
        self._relay.transport.abort()

    async def hand_over(self, handed: Handed) -> None:
        """In its turn."""
        await self.say_to_sink(self._encoder.encode(handed))

    async def hand_frames(
        self, frames: FrameBatch, position: int, age_seconds: float | None = 0.0, *, fresh: bool = True
    ) -> None:
        """A packet of START that is so old, to the first direction."""
        held_us = (time.monotonic_ns() - self._ping_came_ns) // 1000
        age = Age(None if age_seconds is None else int(age_seconds * 1e6), self._ping, held_us)
        packet = encode_frames(PacketNumber(START, 1 + position), frames, 1000, position)
        await self.hand_over(Item(0, age, fresh, packet))

    async def direct(self, *dongle_ids: str, begins_anew: bool = False) -> None:
        """These, for the activation ON."""
        cursors = list(self.cursors.values())
        directions = [
            Direction(name, SOURCE, ON, begins_anew=begins_anew, cursors=cursors) for name in dongle_ids
        ]
        await self.say_to_sink(Directions(directions))

    async def _take(self, said: FromSink) -> None:
        if isinstance(said, RelayHello):
            other = self.record_id not in (None, said.sinks[0].record_id)
            self.record_id = said.sinks[0].record_id
            await self.direct(*(one.dongle_id for one in said.sinks), begins_anew=other)
        elif isinstance(said, RelayPing):
            self._ping, self._ping_came_ns = said.number, time.monotonic_ns()
            if self.answers:
                await self.say_to_sink(RelayPong(said.number, self.activations))
        elif isinstance(said, Settled):
            self.cursors[said.cursor.start_id] = said.cursor
        self.relayed.append(said)
