"""What the WebSockets of an agent share: upgrade, the newest connection wins, errors said before closing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from aiohttp import WSMessage, WSMsgType, web

from can_stream.protocol.control import SUBPROTOCOLS, Error, Hello, encode_control_message, version_of
from can_stream.protocol.errors import SessionError, WireError
from can_stream.protocol.lanes_control import LanesHello
from can_stream.protocol.relay_control import RelayHello
from stream_server.errors import ApiError, StorageError
from stream_server.fleet.connections import Endpoint
from stream_server.fleet.fleet import TOKEN_VOID
from stream_server.fleet.memory import SLOW_SECONDS
from stream_server.http.api import Call

HELLO_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 5.0
TURN_SECONDS: Final = 0.01
CROWDED_SECONDS: Final = 0.02
_PAUSE_TURNS: Final = 3
_LONGEST_USE_SECONDS: Final = 0.1
_AT_ONCE_SECONDS: Final = 0.001
_VOID: Final = "this agent's token is void: the agent was enrolled again, revoked or disabled"
_CLOSED: Final = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})
_PINGS: Final = frozenset({WSMsgType.PING, WSMsgType.PONG})
_logger: Final = logging.getLogger(__name__)


class WrongKindError(Exception):
    """Text where binary is spoken, or the other way round."""


class Silence:
    """Ends a wait that takes too long: TimeoutError at the end of the block of its timeout.

    One timer looks again and again: a timeout for each message costs a tenth of what taking it in does.
    """

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._limit_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begins(self, seconds: float) -> None:
        """A wait that may take so long."""
        self._limit_at = self._loop.time() + seconds
        if self._timer is None or self._limit_at < self._timer.when():
            self.close()
            self._timer = self._loop.call_at(self._limit_at, self._look)

    def ends(self) -> None:
        """Something has come."""
        self._limit_at = None

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._limit_at is None:
            return
        if self._limit_at > self._loop.time():
            self._timer = self._loop.call_at(self._limit_at, self._look)
        else:
            self._timeout.reschedule(self._loop.time())


class Turns:
    """How long one WebSocket may hold the loop before all others are looked at.

    What has come already is given without a wait, so that nobody else would ever have a turn. Where the
    others need long for theirs, who always has more to say has a quarter of the time at most.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began_at = self._asked_at = loop.time()

    def asks(self) -> None:
        """The next message is asked for."""
        self._asked_at = self._loop.time()

    async def given(self) -> None:
        """It is there: perhaps it waits until the others have had theirs."""
        now = self._loop.time()
        if now - self._asked_at > _AT_ONCE_SECONDS:  # nothing had come: the others had their turn
            self._began_at = now
        elif (used_seconds := now - self._began_at) > TURN_SECONDS:
            await asyncio.sleep(0)
            if self._loop.time() - now > CROWDED_SECONDS:
                await asyncio.sleep(_PAUSE_TURNS * min(used_seconds, _LONGEST_USE_SECONDS))
            self._began_at = self._loop.time()


class AgentSocket:
    """One agent on one WebSocket. `version`: of the protocol, as the upgrade agreed on it."""

    def __init__(
        self, call: Call, agent_id: str, endpoint: Endpoint, websocket: web.WebSocketResponse
    ) -> None:
        self.services = call.services
        self.remote = call.remote
        self.agent_id = agent_id
        self.websocket = websocket
        self.version = version_of(websocket.ws_protocol)
        self._endpoint = endpoint
        self._silence: Silence | None = None
        self._loop = asyncio.get_running_loop()
        self._turns = Turns(self._loop)

    def greeted(self, hello: Hello | LanesHello | RelayHello) -> None:
        """What a greeting says its version is must be what the upgrade agreed on. SessionError."""
        self.services.fleet.connections.greeted(self.websocket, hello.start_id)
        if hello.protocol != self.version:
            raise SessionError(
                f"protocol: {hello.protocol}, but this WebSocket speaks version {self.version}: subprotocol "
                f"{self.websocket.ws_protocol or 'none'}; see that whatever is between lets "
                "Sec-WebSocket-Protocol pass, or update the older side"
            )

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """What `next` is called in. TimeoutError at its end where not even a ping has come for too long."""
        async with asyncio.timeout(None) as timeout:
            self._silence = Silence(timeout)
            try:
                yield
            finally:
                self._silence.close()

    async def next(self, timeout_seconds: float) -> WSMessage | None:
        """The next WebSocket message; None at the end or once a newer connection has replaced this."""
        self._turns.asks()
        received = await self._receive(timeout_seconds)
        while received.type in _PINGS:
            if received.type is WSMsgType.PING:
                await self.websocket.pong(received.data)
            received = await self._receive(timeout_seconds)
        await self._turns.given()
        fleet = self.services.fleet
        if received.type is WSMsgType.ERROR:  # too large, or not a WebSocket's bytes; aiohttp has closed it
            self.services.metrics.protocol_errors.labels(self._endpoint).inc()
            _logger.warning("%s connection of %s refused: %s", self._endpoint, self.agent_id, received.data)
        if received.type in _CLOSED or not fleet.connections.is_current(
            self.agent_id, self._endpoint, self.websocket
        ):
            return None
        fleet.seen(self.agent_id)
        if self.services.memory.is_over(self.agent_id):
            # What it sends meanwhile waits with it, for there is no room in its socket.
            await asyncio.sleep(SLOW_SECONDS)
        return received

    async def _receive(self, timeout_seconds: float) -> WSMessage:
        assert self._silence is not None
        self._silence.begins(timeout_seconds)
        try:
            return await self.websocket.receive()
        finally:
            self._silence.ends()

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
            await self.websocket.send_str(encode_control_message(Error(code, reason[:8000])))
        except ConnectionError:
            return
        shown = f"{code}: {reason}".encode()[:120].decode(errors="ignore").encode()
        await self.websocket.close(code=close_code, message=shown)


async def _upgraded(call: Call, max_message_bytes: int) -> web.WebSocketResponse:
    # aiohttp refuses what reaches its limit, with close code 1009.
    websocket = web.WebSocketResponse(
        timeout=CLOSE_SECONDS,
        max_msg_size=max_message_bytes + 1,
        compress=False,
        autoping=False,
        protocols=SUBPROTOCOLS,
    )
    if not websocket.can_prepare(call.request).ok:
        raise ApiError(426, "UPGRADE_REQUIRED", "this is a WebSocket", headers={"Upgrade": "websocket"})
    await websocket.prepare(call.request)
    return websocket


async def serve_agent(
    call: Call, endpoint: Endpoint, max_message_bytes: int, talk: Callable[[AgentSocket], Awaitable[None]]
) -> web.WebSocketResponse:
    """Upgrade, let `talk` speak until it returns or fails, say what failed. ApiError 426 for no upgrade."""
    agent_id = call.credential.agent_id
    assert agent_id is not None
    websocket = await _upgraded(call, max_message_bytes)
    fleet = call.services.fleet
    call.services.access.tell_end(partial(fleet.dismiss, [websocket], TOKEN_VOID, _VOID))
    async with fleet.connected(agent_id, endpoint, websocket, call.remote):
        socket = AgentSocket(call, agent_id, endpoint, websocket)
        try:
            async with socket.listening():
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
        except Exception:
            _logger.exception("%s connection of %s failed", endpoint, agent_id)
            await socket.end(1011, "INTERNAL_ERROR", "the server failed; its log says how")
    return websocket
