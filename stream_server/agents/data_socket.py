"""/ws/data: the lanes of an agent, for as long as it is connected."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from aiohttp import WSMsgType, web

from can_stream.protocol.control import encode_control_message
from can_stream.protocol.deflate import MAX_DEFLATED_BYTES
from can_stream.protocol.lanes_control import decode_data_up
from stream_server.agents.agent_socket import HELLO_SECONDS, AgentSocket, WrongKindError, serve_agent
from stream_server.agents.ingest import DataConnection
from stream_server.fleet.presence import SILENCE_SECONDS
from stream_server.http.api import Call, Route


async def data(call: Call) -> web.WebSocketResponse:
    """Serve one data connection to its end."""
    return await serve_agent(call, "data", MAX_DEFLATED_BYTES, _talk)


async def _talk(socket: AgentSocket) -> None:
    """Lanes, their welcome, then packets; acks go back as they are stored."""
    first = await socket.next(HELLO_SECONDS)
    if first is None:
        return
    if first.type is not WSMsgType.TEXT:
        raise WrongKindError("the first message must be lanes, as text")
    hello = decode_data_up(first.data, socket.version)
    socket.greeted(hello)
    services = socket.services
    connection = DataConnection(
        socket.agent_id,
        services.fleet,
        services.hub,
        services.recorder,
        services.last_values,
        services.metrics,
        services.relay,
    )
    await socket.websocket.send_str(encode_control_message(await connection.open(hello, socket.version)))
    send = socket.websocket.send_bytes
    beside = [asyncio.create_task(one(send)) for one in (connection.send_acks, connection.send_pings)]
    try:
        # Pings of the agent keep a silent bus's connection from timing out.
        while (received := await socket.next(SILENCE_SECONDS)) is not None:
            if received.type is not WSMsgType.BINARY:
                raise WrongKindError("only packets are spoken here, messages go to /ws/agent")
            await connection.receive(received.data)
    finally:
        for task in beside:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await task


ROUTES: Final = (Route("GET", "/ws/data", "agent", data, "WebSocket: data packets of an agent"),)
