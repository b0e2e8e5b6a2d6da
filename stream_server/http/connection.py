"""One connection of HTTP: aiohttp's, with a clock, and no work on bytes that nobody wants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from stream_server.config import LimitsSection
from stream_server.errors import ApiError
from stream_server.http.api import SECURITY_HEADERS, error_response, errors_as_json
from stream_server.http.front import Front
from stream_server.http.library_errors import MAX_FIELD_BYTES, MAX_LINE_BYTES, refusal

LINGER_SECONDS: Final = 2.0
# So much of a body is taken in before anybody wants it; then its sender waits.
_AHEAD_BYTES: Final = 16 * 1024
# The kernel bounds it too: net.core.somaxconn, 4096 since Linux 5.4.
_WAITING: Final = 4096
_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class GuardedRunner(web.AppRunner):
    """Runs an application behind `front`; whatever the library refuses leaves as our JSON error."""

    def __init__(self, app: web.Application, front: Front, *, shutdown_timeout: float) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout, handle_signals=False)
        self._front = front

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        assert made.request_handler is not None
        return _Server(
            self._front,
            _guarded(made.request_handler, self._front),
            request_factory=made.request_factory,
            access_log=None,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            keepalive_timeout=self._front.limits.idle_seconds,
            lingering_time=0,
            read_bufsize=_AHEAD_BYTES,
            auto_decompress=False,
        )


class PatientSite(web.TCPSite):
    """Where the server listens: whoever comes waits in the kernel until the loop has time for them.

    asyncio takes in as many at once as may wait there. Both few, a crowd leaves no place in the queue: TCP
    tries again after a second, then three. Both many, the loop does nothing else meanwhile.
    """

    async def start(self) -> None:
        """Listen. OSError where the address is not to be had."""
        await super().start()
        assert isinstance(self._server, asyncio.Server)
        for listening in self._server.sockets:
            with listening.dup() as same:
                same.listen(_WAITING)


class _Server(web.Server):
    def __init__(self, front: Front, handler: _Handler, **options: object) -> None:
        super().__init__(handler, **options)  # type: ignore[arg-type]
        self.front = front

    def __call__(self) -> web.RequestHandler:
        return Connection(self, self.front, loop=self._loop, **self._kwargs)


class Connection(web.RequestHandler):
    """A connection from when it is accepted until it is gone."""

    __slots__ = ("_blocked_at", "_front", "_leaving_at", "_link", "_opened_at")

    def __init__(self, server: web.Server, front: Front, **options: object) -> None:
        super().__init__(server, **options)  # type: ignore[arg-type]
        self._front = front
        self._link: asyncio.Transport | None = None
        self._opened_at = self._loop.time()
        self._blocked_at: float | None = None
        self._leaving_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Someone has come: a task begins for it if there is room."""
        assert isinstance(transport, asyncio.Transport)
        self._link = transport
        peer = transport.get_extra_info("peername")
        if self._front.opened(self, str(peer[0]) if peer else None):
            super().connection_made(transport)
        else:
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is gone, whoever ended it."""
        self._link = None
        self._front.closed(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """What was sent is not being read."""
        self._blocked_at = self._loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It is."""
        self._blocked_at = None
        super().resume_writing()

    def overdue(self, now_seconds: float, limits: LimitsSection) -> str | None:
        """Why it has to end: no request has come, or nobody reads the answer. Idle ones aiohttp ends."""
        if self._request_count == 0:
            return "head" if now_seconds - self._opened_at > limits.head_seconds else None
        if self._leaving_at is None and self._link is not None and self._link.is_closing():
            self._leaving_at = now_seconds + limits.send_seconds
        if self._leaving_at is not None and now_seconds > self._leaving_at:
            return "leaving"
        if self._blocked_at is not None and now_seconds - self._blocked_at > limits.send_seconds:
            return "send"
        return None

    def abort(self) -> None:
        """End it now, and forget what was to be sent."""
        if self._link is not None:
            self._link.abort()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """The library's own; where a body is still on its way the connection ends, and nothing reads it."""
        unread = not request.content.is_eof()
        if unread and isinstance(resp, web.StreamResponse):
            resp.force_close()
        finished = await super().finish_response(request, resp, start_time)
        if unread and not request.content.is_eof():
            self._leave()
        return finished

    def _leave(self) -> None:
        """Throw away what comes until the other side has read the answer: a reset could destroy it."""
        if self._link is None or self._link.is_closing():
            return
        self._leaving_at = self._loop.time() + LINGER_SECONDS
        self._link.set_protocol(_Leaving(self))
        with suppress(OSError):
            self._link.write_eof()
        self._link.resume_reading()
        # The library neither reads on nor closes.
        self._force_close, self.transport = True, None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The library's own: it logs, and raises where a response has begun. Who has gone is no error."""
        if isinstance(exc, ConnectionError):
            raise exc
        super().handle_error(request, status, exc, message)
        if isinstance(exc, HttpProcessingError):
            error = refusal(exc)
        else:
            error = ApiError(status, "INTERNAL_ERROR", "the server failed; its log says how")
        response = error_response(error)
        response.headers.update(SECURITY_HEADERS)
        response.force_close()
        return response


class _Leaving(asyncio.Protocol):
    """What is left of a connection that was answered before its body had come."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)


def _guarded(handler: _Handler, front: Front) -> _Handler:
    # An unknown Expect is refused before the application's middlewares.
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.Request)
        assert isinstance(request.protocol, Connection)
        front.asked(request.protocol)
        return await errors_as_json(request, handler)

    return handle
