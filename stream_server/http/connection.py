"""One connection of HTTP: aiohttp's, with a clock, and no work on bytes that nobody wants."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from stream_server.config import LimitsSection
from stream_server.errors import ApiError
from stream_server.http.api import SECURITY_HEADERS, error_response
from stream_server.http.front import Front
from stream_server.http.library_errors import refusal

LINGER_SECONDS: Final = 2.0


class Connection(web.RequestHandler):
    """A connection from when it is let in until it is gone.

    `first`: what it has sent already; `since`: when its clock has begun, on the loop's.
    """

    __slots__ = ("_blocked_at", "_first", "_front", "_leaving_at", "_link", "_opened_at")

    def __init__(
        self, server: web.Server, front: Front, first: bytes, since: float, **options: object
    ) -> None:
        super().__init__(server, **options)  # type: ignore[arg-type]
        self._front = front
        self._first = first
        self._link: asyncio.Transport | None = None
        self._opened_at = since
        self._blocked_at: float | None = None
        self._leaving_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Someone has come: a task begins for it if there is room."""
        assert isinstance(transport, asyncio.Transport)
        self._link = transport
        peer = transport.get_extra_info("peername")
        if self._front.opened(self, str(peer[0]) if peer else None):
            super().connection_made(transport)
            first, self._first = self._first, b""
            if first:
                self.data_received(first)
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
