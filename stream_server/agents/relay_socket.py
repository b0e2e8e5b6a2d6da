"""/ws/relay: what a gateway is handed for the buses it may write to, for as long as it is connected."""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
from collections.abc import Sequence
from typing import Final

from aiohttp import WSMsgType, web

from can_stream.protocol.control import MAX_CONTROL_MESSAGE_BYTES, encode_control_message
from can_stream.protocol.errors import SessionError
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
    decode_from_sink,
    newest_that_fit,
)
from can_stream.protocol.relay_items import Counts, Handed, Item, ItemEncoder
from stream_server import clock
from stream_server.agents.agent_socket import HELLO_SECONDS, AgentSocket, WrongKindError, serve_agent
from stream_server.agents.pings import Heard
from stream_server.errors import ApiError
from stream_server.fleet.presence import SILENCE_SECONDS
from stream_server.http.api import Call, Route
from stream_server.relay.link import Link
from stream_server.relay.values import RelayItem

# What lies in buffers grows old, and holds up the lease of whoever is behind it.
BUFFER_BYTES: Final = 65_536
WAIT_SECONDS: Final = 1.0
GROUPS_NS: Final = 1_000_000_000


async def serve_relay(call: Call) -> web.WebSocketResponse:
    """Serve one connection of a gateway that lets a relay transmit to its end."""
    return await serve_agent(call, "relay", MAX_CONTROL_MESSAGE_BYTES, _talk)


async def _talk(socket: AgentSocket) -> None:
    hello = await _next(socket, HELLO_SECONDS)
    if hello is None:
        return
    if not isinstance(hello, RelayHello):
        raise SessionError("the first message must be relay_hello")
    socket.greeted(hello)
    _check_own(socket, [sink.dongle_id for sink in hello.sinks])
    _keep_short(socket.websocket)
    connection = SinkConnection(socket, hello)
    directing = asyncio.create_task(connection.direct())
    try:
        while (said := await _next(socket, SILENCE_SECONDS)) is not None:
            await connection.take(said)
            if directing.done():
                await directing
    finally:
        directing.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await directing


async def _next(socket: AgentSocket, timeout_seconds: float) -> FromSink | None:
    received = await socket.next(timeout_seconds)
    if received is None:
        return None
    if received.type is not WSMsgType.TEXT:
        raise WrongKindError("a gateway says text here; packets go to /ws/data")
    return decode_from_sink(received.data)


def _check_own(socket: AgentSocket, dongle_ids: Sequence[str]) -> None:
    if len(set(dongle_ids)) != len(dongle_ids):
        raise SessionError("a dongle is listed twice")
    for dongle_id in dongle_ids:
        if socket.services.fleet.dongle(dongle_id).agent_id != socket.agent_id:
            raise ApiError(403, "DONGLE_CONFLICT", f"{dongle_id} belongs to another agent")


def _keep_short(websocket: web.WebSocketResponse) -> None:
    raw = websocket.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, BUFFER_BYTES)


class SinkConnection:
    """One gateway's connection after its hello. `take` what it says; `direct` runs beside."""

    def __init__(self, socket: AgentSocket, hello: RelayHello) -> None:
        self._websocket = socket.websocket
        self._relay = socket.services.relay
        self._standings = socket.services.groups.standings_to
        self._metrics = socket.services.metrics.relay
        self._hellos = {sink.dongle_id: sink for sink in hello.sinks}
        self._heard = Heard()
        self._encoder = ItemEncoder()
        self._sending = asyncio.Lock()
        self._links: dict[str, Link] = {}
        self._told: list[tuple[Link, str, bool]] = []
        self._number = self._groups_due_ns = 0
        self._groups_told: list[GroupStanding] = []

    async def take(self, said: FromSink) -> None:
        """One message. SessionError."""
        match said:
            case RelayPing():
                self._heard.came(said.number, clock.boottime_ns())
                on = [link.direction.activation for link in self._links.values() if self._relay.is_on(link)]
                await self._say(RelayPong(said.number, sorted(set(on)), self._groups()))
            case Settled():
                self._check_own(said.sink_dongle_id)
                link = self._links.get(said.sink_dongle_id)
                if link is not None:  # else it has ended meanwhile
                    link.direction.settled(said.cursor)
                    link.wake.set()
            case Credit():
                self._check_own(said.sink_dongle_id)
                if said.sink_dongle_id in self._links:
                    self._links[said.sink_dongle_id].credit(said)
            case SinkState():
                self._state(said)
            case RelayHello():
                raise SessionError("relay_hello was said already")

    def _groups(self) -> list[GroupStanding] | None:
        """What has not been said so; looked at each second at most, for it is for people."""
        now_ns = clock.boottime_ns()
        if now_ns < self._groups_due_ns:
            return None
        self._groups_due_ns = now_ns + GROUPS_NS
        groups = self._standings(list(self._hellos))
        if groups == self._groups_told:
            return None
        self._groups_told = groups
        return groups

    def _check_own(self, dongle_id: str) -> None:
        if dongle_id not in self._hellos:
            raise SessionError(f"{dongle_id} was not in relay_hello")

    def _state(self, said: SinkState) -> None:
        self._check_own(said.sink_dongle_id)
        link = self._links.get(said.sink_dongle_id)
        # What was on its way while the group was activated again speaks of what is over: it stops nothing.
        if link is not None and (said.activation or "") == link.direction.activation:
            link.state(said)
            if said.waits_for.startswith("loop"):
                self._relay.loop_found(link, said.waits_for)

    async def direct(self) -> None:
        """Say the directions at once and at each change, and hand out what is in them, until cancelled."""
        tasks: list[asyncio.Task[None]] = []
        try:
            with self._relay.bell() as bell:
                while True:
                    bell.clear()
                    if not self._number or self._terms() != self._told:
                        await _ended(tasks)
                        tasks = await self._say_directions()
                    await _first(bell, tasks)
        finally:
            await _ended(tasks)
            for link in self._links.values():
                link.lost(self)

    def _terms(self) -> list[tuple[Link, str, bool]]:
        links = self._relay.unfinished(list(self._hellos))
        return [(link, link.direction.activation, self._relay.is_on(link)) for link in links]

    async def _say_directions(self) -> list[asyncio.Task[None]]:
        self._told = self._terms()
        now_ns = clock.boottime_ns()
        self._number += 1
        before, self._links = self._links, {link.way.sink_dongle_id: link for link, *_ in self._told}
        said: list[Direction] = []
        for dongle_id, link in self._links.items():
            is_known = before.get(dongle_id) is link
            said.append(
                link.direction.directed() if is_known else link.greeted(self._hellos[dongle_id], now_ns)
            )
            link.directed(self, self._number)
        for link in before.values():
            if link not in self._links.values():
                link.lost(self)
        await self._say(Directions(_fitting(said), self._number))
        return [
            asyncio.create_task(self._hand_out(index, link))
            for index, link in enumerate(self._links.values())
        ]

    async def _hand_out(self, index: int, link: Link) -> None:
        """One direction, as far as its sink has room. What stalls it stalls no other."""
        while not link.is_asked:
            link.wake.clear()
            await link.wake.wait()
        await self._relay.serving_stored(link)
        if link.owner is self:
            link.served(self._hellos[link.way.sink_dongle_id].record_id)
        while link.owner is self:
            link.wake.clear()
            now_ns = clock.boottime_ns()
            handed = link.direction.next(now_ns, link.room_frames)
            if handed is None:
                absent = link.direction.absent()
                if absent:
                    await self._relay.read_absent(link, absent)
                else:
                    await _woken(link, now_ns)
            elif isinstance(handed, RelayItem):
                link.handed_frames += handed.frames
                self._metrics.handed(handed.frames, *_ages(handed, now_ns))
                age = self._heard.age(handed.born_ns, now_ns)
                await self._hand(Item(index, age, handed.fresh, handed.packet, link.from_log))
            else:
                self._metrics.counted(handed.frames, handed.reason)
                await self._hand(
                    Counts(
                        index,
                        handed.start_id,
                        handed.first,
                        handed.through,
                        handed.frames,
                        handed.reason,
                        handed.in_doubt,
                    )
                )

    async def _hand(self, handed: Handed) -> None:
        async with self._sending:  # what was encoded must be sent in this order, all of it
            await self._websocket.send_bytes(self._encoder.encode(handed))

    async def _say(self, message: Directions | RelayPong) -> None:
        await self._websocket.send_str(encode_control_message(message))


def _ages(handed: RelayItem, now_ns: int) -> tuple[int | None, int | None]:
    """How old it is and how long it was here, None where that says nothing of the way."""
    if not handed.fresh:
        return None, None
    return now_ns - handed.born_ns, None if handed.came_ns is None else now_ns - handed.came_ns


def _fitting(said: Sequence[Direction]) -> list[Direction]:
    cursors = newest_that_fit([one.cursors for one in said])
    return [
        Direction(
            one.sink_dongle_id, one.source_dongle_id, one.activation, one.dry_run, one.begins_anew, fitting
        )
        for one, fitting in zip(said, cursors, strict=True)
    ]


async def _woken(link: Link, now_ns: int) -> None:
    due_ns = link.direction.due_ns
    seconds = WAIT_SECONDS if due_ns is None else min(WAIT_SECONDS, max(0.001, (due_ns - now_ns) / 1e9))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await link.wake.wait()


async def _first(bell: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """The bell has rung; what a task has failed with is raised."""
    ringing = asyncio.create_task(bell.wait())
    try:
        done, _ = await asyncio.wait([ringing, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
    finally:
        ringing.cancel()


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


ROUTES: Final = (
    Route("GET", "/ws/relay", "agent", serve_relay, "WebSocket: what is relayed to an agent's dongles"),
)
