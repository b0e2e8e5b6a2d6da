"""/ws/agent: what an agent says about itself, its dongles and services, for as long as it is connected."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from aiohttp import WSMsgType, web

from can_stream.protocol import control as messages
from can_stream.protocol.control import MAX_MESSAGE_BYTES, PROTOCOL_VERSION, AgentMessage, DongleInfo
from can_stream.protocol.errors import MessageError, SessionError
from can_stream.protocol.packets import MAX_PACKET_BYTES
from can_stream.signals.errors import TableVersionError
from stream_server import clock
from stream_server.agents.agent_socket import HELLO_SECONDS, AgentSocket, WrongKindError, serve_agent
from stream_server.agents.table_uploads import TableUploads
from stream_server.fleet import registry
from stream_server.fleet.presence import SILENCE_SECONDS
from stream_server.http.api import Call, Route


async def control(call: Call) -> web.WebSocketResponse:
    """Serve one control connection to its end."""
    return await serve_agent(call, "control", MAX_MESSAGE_BYTES, _talk)


async def _talk(socket: AgentSocket) -> None:
    """Hello, welcome, then every message."""
    hello = await _next(socket, HELLO_SECONDS)
    if hello is None:
        return
    if not isinstance(hello, messages.Hello):
        raise SessionError("the first message must be hello")
    await _greet(socket, hello)
    uploads = TableUploads()
    await _want_tables(socket, uploads, hello.dongles)
    while (message := await _next(socket, SILENCE_SECONDS)) is not None:
        await _take(socket, message, uploads)


async def _next(socket: AgentSocket, timeout_seconds: float) -> AgentMessage | None:
    received = await socket.next(timeout_seconds)
    if received is None:
        return None
    if received.type is not WSMsgType.TEXT:
        raise WrongKindError("only text messages are spoken here, data packets go to /ws/data")
    return messages.decode_agent_message(received.data)


async def _greet(socket: AgentSocket, hello: messages.Hello) -> None:
    if hello.agent_id != socket.agent_id:
        raise SessionError(f"agent_id: {hello.agent_id!r} is not the owner of this token")
    if hello.protocol != PROTOCOL_VERSION:
        raise SessionError(f"protocol: {hello.protocol} is not {PROTOCOL_VERSION}, update the older side")
    refused = await socket.services.fleet.hello(hello, socket.remote)
    if refused:
        raise registry.dongle_conflict(refused)
    heartbeat_seconds = socket.services.config.agents.heartbeat_seconds
    await _send(socket, messages.Welcome(clock.wall_ns(), heartbeat_seconds, MAX_PACKET_BYTES))


async def _want_tables(socket: AgentSocket, uploads: TableUploads, dongles: Sequence[DongleInfo]) -> None:
    listed = [table_hash for dongle in dongles for table_hash in dongle.signal_tables]
    wanted = uploads.ask(socket.services.signal_tables.lacking(listed))
    if wanted:
        await _send(socket, messages.TablesWanted(wanted))


async def _take(socket: AgentSocket, message: AgentMessage, uploads: TableUploads) -> None:
    fleet, agent_id = socket.services.fleet, socket.agent_id
    match message:
        case messages.Heartbeat():
            await fleet.heartbeat(agent_id, clock_synchronised=message.clock_synchronised)
        case messages.DevicesReport():
            refused = await fleet.devices(agent_id, message.dongles, socket.remote)
            if refused:
                raise registry.dongle_conflict(refused)
            await _want_tables(socket, uploads, message.dongles)
        case messages.Status():
            store = partial(registry.store_services, agent_id=agent_id, services=message.services)
            await socket.services.database.write(store)
        case messages.Log():
            _log(socket, message, _log_payload(message))
        case messages.Discovery():
            _log(socket, message, _discovery_payload(message))
        case messages.Hello():
            raise SessionError("hello was said already")
        case messages.SignalTable():
            table = uploads.take(message)
            if table is not None:
                await _store_table(socket, message.hash, table)
        case messages.CommandStatus():
            await _send(socket, messages.Error("NOT_SUPPORTED", "this server takes no command results"))


async def _store_table(socket: AgentSocket, table_hash: str, table: bytes) -> None:
    try:
        await socket.services.signal_tables.store(table_hash, table)
    except TableVersionError as error:
        # Its frames and values are recorded all the same; only their names are missing here.
        text = f"signal table {table_hash} cannot be read ({error}): update the older of agent and server"
        payload = {"level": "warning", "source": "server", "message": text, "details": {"hash": table_hash}}
        socket.services.fleet.log(socket.agent_id, payload)


def _log(socket: AgentSocket, message: messages.Log | messages.Discovery, payload: dict[str, object]) -> None:
    fleet, dongle_id = socket.services.fleet, message.dongle_id
    if dongle_id is not None and fleet.dongle(dongle_id).agent_id != socket.agent_id:
        raise MessageError(f"dongle_id: {dongle_id!r} is not a dongle of this agent")
    fleet.log(socket.agent_id, payload, dongle_id=dongle_id, wall_ns=message.wall_ns)


async def _send(socket: AgentSocket, message: messages.ServerMessage) -> None:
    await socket.websocket.send_str(messages.encode_message(message))


def _log_payload(message: messages.Log) -> dict[str, object]:
    return {
        "level": message.level,
        "source": message.source,
        "message": message.message,
        "details": message.details,
    }


def _discovery_payload(message: messages.Discovery) -> dict[str, object]:
    return {
        "level": "info",
        "source": "discovery",
        "message": f"{message.kind} {message.slug}",
        "details": {"kind": message.kind, "slug": message.slug, **message.details},
    }


ROUTES: Final = (Route("GET", "/ws/agent", "agent", control, "WebSocket: control messages of an agent"),)
