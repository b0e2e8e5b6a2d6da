"""What both WebSockets of an agent share: upgrade, the newest connection wins, errors said before closing."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import WSMessage, WSMsgType, web

from stream_server.api import Call
from stream_server.connections import Endpoint
from stream_server.errors import ApiError, StorageError
from wire_protocol.errors import WireError
from wire_protocol.messages import Error, encode_message

HELLO_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 5.0
_CLOSED: Final = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})
_logger: Final = logging.getLogger(__name__)


class WrongKindError(Exception):
    """A text message where binary is spoken, or the other way round."""


class AgentSocket:
    """One agent on one WebSocket."""

    def __init__(
        self, call: Call, agent_id: str, endpoint: Endpoint, websocket: web.WebSocketResponse
    ) -> None:
        self.services = call.services
        self.remote = call.remote
        self.agent_id = agent_id
        self.websocket = websocket
        self._endpoint = endpoint

    async def next(self, timeout_seconds: float) -> WSMessage | None:
        """The next message, None at the end of the connection or once a newer one has replaced it."""
        received = await self.websocket.receive(timeout=timeout_seconds)
        fleet = self.services.fleet
        if received.type is WSMsgType.ERROR:  # too large, or not a WebSocket's bytes; aiohttp has closed it
            self.services.metrics.protocol_errors.labels(self._endpoint).inc()
            _logger.warning("%s connection of %s refused: %s", self._endpoint, self.agent_id, received.data)
        if received.type in _CLOSED or not fleet.connections.is_current(
            self.agent_id, self._endpoint, self.websocket
        ):
            return None
        fleet.seen(self.agent_id)
        return received

    async def refuse(self, close_code: int, code: str, reason: str) -> None:
        """Count a broken rule, say which, and close."""
        self.services.metrics.protocol_errors.labels(self._endpoint).inc()
        _logger.warning(
            "%s connection of %s refused: %s: %s", self._endpoint, self.agent_id, code, reason[:500]
        )
        await self.end(close_code, code, reason)

    async def end(self, close_code: int, code: str, reason: str) -> None:
        """Say why, and close. A close reason has at most 123 bytes (RFC 6455, section 5.5)."""
        try:
            await self.websocket.send_str(encode_message(Error(code, reason[:8000])))
        except ConnectionError:
            return
        shown = f"{code}: {reason}".encode()[:120].decode(errors="ignore").encode()
        await self.websocket.close(code=close_code, message=shown)


async def serve_agent(
    call: Call, endpoint: Endpoint, max_message_bytes: int, talk: Callable[[AgentSocket], Awaitable[None]]
) -> web.WebSocketResponse:
    """Upgrade, let `talk` speak until it returns or fails, say what failed. ApiError 426 for no upgrade."""
    agent_id = call.credential.agent_id
    assert agent_id is not None
    # aiohttp refuses what reaches its limit, with close code 1009.
    websocket = web.WebSocketResponse(
        timeout=CLOSE_SECONDS, max_msg_size=max_message_bytes + 1, compress=False
    )
    if not websocket.can_prepare(call.request).ok:
        raise ApiError(426, "UPGRADE_REQUIRED", "this is a WebSocket", headers={"Upgrade": "websocket"})
    await websocket.prepare(call.request)
    async with call.services.fleet.connected(agent_id, endpoint, websocket, call.remote):
        socket = AgentSocket(call, agent_id, endpoint, websocket)
        try:
            await talk(socket)
        except WireError as error:
            await socket.refuse(1008, "PROTOCOL_ERROR", str(error))
        except WrongKindError as error:
            await socket.refuse(1003, "PROTOCOL_ERROR", str(error))
        except ApiError as error:
            await socket.refuse(1008, error.code, error.message)
        except StorageError as error:
            _logger.error("%s connection of %s: %s", endpoint, agent_id, error)
            await socket.end(1013, "STORAGE_UNAVAILABLE", "nothing can be stored now, try again later")
        except TimeoutError:
            await socket.end(1008, "SILENT", "nothing was said for too long")
        except ConnectionError:
            pass
    return websocket
