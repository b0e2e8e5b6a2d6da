"""/ws/agent: what an agent says about itself, its dongles and services, for as long as it is connected."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Final

from aiohttp import WSMsgType, web

from can_stream.protocol import control
from can_stream.protocol.control import (
    MAX_CONTROL_MESSAGE_BYTES,
    AgentControlMessage,
    DongleInfo,
)
from can_stream.protocol.errors import ControlMessageError, SessionError
from can_stream.protocol.packet_head import MAX_PACKET_BYTES
from can_stream.signals.errors import TableVersionError
from stream_server import clock
from stream_server.agents.agent_socket import HELLO_SECONDS, AgentSocket, WrongKindError, serve_agent
from stream_server.agents.table_uploads import TableUploads
from stream_server.errors import ApiError
from stream_server.fleet import registry
from stream_server.fleet.presence import SILENCE_SECONDS
from stream_server.http.api import Call, Route


async def serve_control(call: Call) -> web.WebSocketResponse:
    """Serve one control connection to its end."""
    return await serve_agent(call, "control", MAX_CONTROL_MESSAGE_BYTES, _talk)


async def _talk(socket: AgentSocket) -> None:
    """Hello, welcome, then every control message."""
    hello = await _next(socket, HELLO_SECONDS)
    if hello is None:
        return
    if not isinstance(hello, control.Hello):
        raise SessionError("the first message must be hello")
    await _greet(socket, hello)
    uploads = TableUploads()
    await _want_tables(socket, uploads, hello.dongles)
    marks = asyncio.create_task(_tell_marks(socket)) if hello.relay else None
    try:
        while (said := await _next(socket, SILENCE_SECONDS)) is not None:
            await _take_control_message(socket, said, uploads)
    finally:
        if marks is not None:
            marks.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await marks


async def _tell_marks(socket: AgentSocket) -> None:
    """For which activation each dongle carries its frames: at once, and at each change, until cancelled."""
    told: dict[str, str | None] = {}
    with socket.services.relay.bell() as bell:
        while True:
            bell.clear()
            for dongle_id, activation in socket.services.relay.marks_of(socket.agent_id).items():
                if dongle_id not in told or told[dongle_id] != activation:
                    told[dongle_id] = activation
                    await _send(socket, control.RelaySource(dongle_id, activation))
            await bell.wait()


async def _next(socket: AgentSocket, timeout_seconds: float) -> AgentControlMessage | None:
    received = await socket.next(timeout_seconds)
    if received is None:
        return None
    if received.type is not WSMsgType.TEXT:
        raise WrongKindError("only text messages are spoken here, data packets go to /ws/data")
    return control.decode_agent_control_message(received.data)


async def _greet(socket: AgentSocket, hello: control.Hello) -> None:
    if hello.agent_id != socket.agent_id:
        owner = f"which is that of {socket.agent_id!r}"
        raise ApiError(
            403, "AGENT_MISMATCH", f"agent_id: {hello.agent_id!r} is not the owner of this token, {owner}"
        )
    socket.greeted(hello)
    refused = await socket.services.fleet.hello(hello, socket.remote)
    if refused:
        raise registry.dongle_conflict(refused)
    heartbeat_seconds = socket.services.config.agents.heartbeat_seconds
    await _send(socket, control.Welcome(clock.wall_ns(), heartbeat_seconds, MAX_PACKET_BYTES, socket.version))


async def _want_tables(socket: AgentSocket, uploads: TableUploads, dongles: Sequence[DongleInfo]) -> None:
    listed = [table_hash for dongle in dongles for table_hash in dongle.signal_tables]
    wanted = uploads.ask(socket.services.signal_tables.lacking(listed))
    if wanted:
        await _send(socket, control.TablesWanted(wanted))


async def _take_control_message(
    socket: AgentSocket, said: AgentControlMessage, uploads: TableUploads
) -> None:
    fleet, agent_id = socket.services.fleet, socket.agent_id
    match said:
        case control.Heartbeat():
            await fleet.heartbeat(agent_id, clock_synchronised=said.clock_synchronised)
        case control.DevicesReport():
            refused = await fleet.devices(agent_id, said.dongles, socket.remote)
            if refused:
                raise registry.dongle_conflict(refused)
            await _want_tables(socket, uploads, said.dongles)
        case control.Status():
            store = partial(registry.store_services, agent_id=agent_id, services=said.services)
            await socket.services.database.write(store)
        case control.Log():
            _log(socket, said, _log_payload(said))
        case control.Discovery():
            _log(socket, said, _discovery_payload(said))
        case control.Hello():
            raise SessionError("hello was said already")
        case control.SignalTablePart():
            table = uploads.take_part(said)
            if table is not None:
                await _store_table(socket, said.hash, table)
        case control.CommandStatus():
            await _send(socket, control.Error("NOT_SUPPORTED", "this server takes no command results"))


async def _store_table(socket: AgentSocket, table_hash: str, table: bytes) -> None:
    try:
        await socket.services.signal_tables.store(table_hash, table)
    except TableVersionError as error:
        # Its frames and values are recorded all the same; only their names are missing here.
        text = f"signal table {table_hash} cannot be read ({error}): update the older of agent and server"
        payload = {"level": "warning", "source": "server", "message": text, "details": {"hash": table_hash}}
        socket.services.fleet.log(socket.agent_id, payload)


def _log(socket: AgentSocket, said: control.Log | control.Discovery, payload: dict[str, object]) -> None:
    fleet, dongle_id = socket.services.fleet, said.dongle_id
    if dongle_id is not None and fleet.dongle(dongle_id).agent_id != socket.agent_id:
        raise ControlMessageError(f"dongle_id: {dongle_id!r} is not a dongle of this agent")
    fleet.log(socket.agent_id, payload, dongle_id=dongle_id, wall_ns=said.wall_ns)


async def _send(socket: AgentSocket, answer: control.ServerControlMessage) -> None:
    await socket.websocket.send_str(control.encode_control_message(answer))


def _log_payload(log: control.Log) -> dict[str, object]:
    return {
        "level": log.level,
        "source": log.source,
        "message": log.message,
        "details": log.details,
    }


def _discovery_payload(discovery: control.Discovery) -> dict[str, object]:
    return {
        "level": "info",
        "source": "discovery",
        "message": f"{discovery.kind} {discovery.slug}",
        "details": {"kind": discovery.kind, "slug": discovery.slug, **discovery.details},
    }


ROUTES: Final = (
    Route("GET", "/ws/agent", "agent", serve_control, "WebSocket: control messages of an agent"),
)
