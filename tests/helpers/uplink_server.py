"""A server in the test's own event loop that welcomes an uplink, and keeps all that it says."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import Final, TypeVar

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from can_stream.protocol.control import (
    PROTOCOL_VERSION,
    SUBPROTOCOLS,
    AgentControlMessage,
    DevicesReport,
    Discovery,
    Hello,
    ServerControlMessage,
    Status,
    Welcome,
    decode_agent_control_message,
    encode_control_message,
)
from can_stream.protocol.hop import Ack, Envelope, HopDecoder, encode_ack, encode_ping
from can_stream.protocol.lanes_control import (
    LanesHello,
    LanesWelcome,
    StartBooks,
    decode_data_up,
)
from can_stream.protocol.packets import decode_packet
from edge_agent.uplink.uplink import Uplink
from tests.helpers.conditions import Gathered, running

T = TypeVar("T", DevicesReport, Discovery, Status)
_MAX_PACKET_BYTES: Final = 65_536


class UplinkServer:
    """`hellos` and `lanes` are its greetings, `said` what else came in words, `packets` what came in lanes.

    `acks`: whether it acknowledges; `refuses`: whether it turns whoever comes away. `offers`: which
    subprotocols agents named. `texts`: how lanes were opened, to the letter.
    `change_version`: whether its two connections speak different ones. `remembers_from`: how many greetings
    of lanes it must have heard until its books have all that was made, and not nothing. `wants_ages`: of
    packets.
    """

    def __init__(self, *, acks: bool, version: int = PROTOCOL_VERSION) -> None:
        self.offers: list[list[str]] = []
        self.texts: list[str] = []
        self.hellos: Gathered[Hello] = Gathered()
        self.lanes: Gathered[LanesHello] = Gathered()
        self.said: Gathered[AgentControlMessage] = Gathered()
        self.packets: Gathered[Envelope] = Gathered()
        self.acks = acks
        self.version = version
        self.refuses = False
        self.change_version = False
        self.remembers_from = math.inf
        self.wants_ages = False
        self.url = ""
        self._control: ServerConnection | None = None
        self._data: ServerConnection | None = None

    def of(self, kind: type[T]) -> list[T]:
        """What it said of this kind."""
        return [one for one in self.said if isinstance(one, kind)]

    async def until_said(self, kind: type[T], count: int = 1) -> list[T]:
        """What it has said of this kind, once that is so much."""
        while len(self.of(kind)) < count:
            await self.said.until(len(self.said) + 1)
        return self.of(kind)

    async def tell(self, control_message: ServerControlMessage) -> None:
        """Says this to the agent."""
        assert self._control is not None
        await self._control.send(encode_control_message(control_message))

    async def ping(self, number: int) -> None:
        """Asks to be named in ages."""
        assert self._data is not None
        await self._data.send(encode_ping(number))

    async def drop(self) -> None:
        """Ends the connection; the next one is welcome."""
        assert self._data is not None
        await self._data.close()

    async def serve(self, connection: ServerConnection) -> None:
        """One connection of an agent."""
        assert connection.request is not None
        if connection.request.path == "/ws/agent":
            await self._serve_control(connection)
        else:
            await self._serve_data(connection)

    def turn_away(self, connection: ServerConnection, _request: Request) -> Response | None:
        """As a server does that does not know the token."""
        if not self.refuses:
            return None
        said = '{"code":"UNAUTHENTICATED","message":"this credential is unknown","details":{}}'
        return connection.respond(HTTPStatus.UNAUTHORIZED, said)

    def choose(self, _: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        """A server of version 1 knows of no subprotocols."""
        self.offers.append(list(offered))
        wanted = Subprotocol(SUBPROTOCOLS[0])
        if self.change_version and len(self.offers) % 2 == 0:
            return None
        return wanted if self.version == PROTOCOL_VERSION and wanted in offered else None

    async def _serve_control(self, connection: ServerConnection) -> None:
        self._control = connection
        async for content in connection:
            said = decode_agent_control_message(content)
            if isinstance(said, Hello):
                await self.tell(Welcome(0, 600.0, _MAX_PACKET_BYTES))
                self.hellos.append(said)
            else:
                self.said.append(said)

    async def _serve_data(self, connection: ServerConnection) -> None:
        self._data, decoder = connection, HopDecoder(self.version)
        async for content in connection:
            if isinstance(content, str):
                self.texts.append(content)
                opened = decode_data_up(content, self.version)
                await connection.send(encode_control_message(self._welcome(opened)))
                self.lanes.append(opened)
                continue
            envelope = decoder.decode(content)
            self.packets.append(envelope)
            if self.acks:
                number = decode_packet(envelope.packet).number
                await connection.send(encode_ack(Ack(envelope.lane_index, envelope.range_kind, number)))

    def _welcome(self, opened: LanesHello) -> LanesWelcome:
        knows = len(self.lanes) >= self.remembers_from
        books = [
            [StartBooks(one.start_id, one.frames if knows else 0, 0, 0) for one in lane.starts]
            for lane in opened.lanes
        ]
        taken_through = [0] * len(opened.lanes)
        known = [] if self.version == 1 else books
        return LanesWelcome(taken_through, _MAX_PACKET_BYTES, known, self.wants_ages)


@contextlib.asynccontextmanager
async def listening(*, acks: bool = True, version: int = PROTOCOL_VERSION) -> AsyncIterator[UplinkServer]:
    """It listens at `url` meanwhile, and speaks this version alone."""
    server = UplinkServer(acks=acks, version=version)
    async with serving(server):
        yield server


@contextlib.asynccontextmanager
async def serving(server: UplinkServer) -> AsyncIterator[None]:
    """It listens at its `url` meanwhile."""
    async with serve(
        server.serve,
        "127.0.0.1",
        0,
        process_request=server.turn_away,
        select_subprotocol=server.choose,
        compression=None,
    ) as opened:
        server.url = f"http://127.0.0.1:{opened.sockets[0].getsockname()[1]}"
        yield


@contextlib.asynccontextmanager
async def streaming(uplink: Uplink) -> AsyncIterator[asyncio.Task[None]]:
    """The uplink runs meanwhile, and is welcomed already."""
    async with running(uplink.run()) as task:
        async with asyncio.timeout(30):
            await uplink.until(lambda: uplink.state.connected)
        yield task
