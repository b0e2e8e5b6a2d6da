"""Where the server listens, and what aiohttp makes of who is let in."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from stream_server.http.api import errors_as_json
from stream_server.http.arrivals import Arrivals
from stream_server.http.connection import Connection
from stream_server.http.front import Front
from stream_server.http.library_errors import MAX_FIELD_BYTES, MAX_LINE_BYTES

# So much of a body is taken in before anybody wants it; then its sender waits.
_AHEAD_BYTES: Final = 16 * 1024
# The kernel bounds it too: net.core.somaxconn, 4096 since Linux 5.4.
_WAITING: Final = 4096
# Without a descriptor for who comes; as asyncio does it.
_PAUSE_SECONDS: Final = 1.0
_logger: Final = logging.getLogger(__name__)
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
    """Where the server listens: who comes waits in the kernel, then in `Arrivals`, and need not come again.

    asyncio would take in as many at once as may wait in the kernel. Both few, a crowd leaves no place in the
    queue: TCP tries again after a second, then three. Both many, the loop does nothing else meanwhile.
    """

    # None of them where the address is not to be had.
    _listening: Sequence[socket.socket] = ()

    async def start(self) -> None:
        """Listen. OSError where the address is not to be had."""
        await super().start()
        server = self._runner.server
        assert isinstance(self._server, asyncio.Server)
        assert isinstance(server, _Server)
        self._loop = asyncio.get_running_loop()
        self._arrivals = Arrivals(server.front, server.connection)
        self._listening = [theirs.dup() for theirs in self._server.sockets]
        for theirs, ours in zip(self._server.sockets, self._listening, strict=True):
            self._loop.remove_reader(theirs.fileno())
            ours.listen(_WAITING)
            self._listen(ours)

    async def stop(self) -> None:
        """Listen no more, and end who waits."""
        for ours in self._listening:
            self._loop.remove_reader(ours.fileno())
            ours.close()
        if self._listening:
            self._arrivals.close()
        await super().stop()

    def _listen(self, ours: socket.socket) -> None:
        if ours.fileno() >= 0:
            self._loop.add_reader(ours.fileno(), self._take_in, ours)

    def _take_in(self, ours: socket.socket) -> None:
        try:
            self._arrivals.take_in(ours)
        except OSError as error:
            _logger.warning("nobody can be let in for the next %g seconds: %s", _PAUSE_SECONDS, error)
            self._loop.remove_reader(ours.fileno())
            self._loop.call_later(_PAUSE_SECONDS, self._listen, ours)


class _Server(web.Server):
    def __init__(self, front: Front, handler: _Handler, **options: object) -> None:
        super().__init__(handler, **options)  # type: ignore[arg-type]
        self.front = front

    def __call__(self) -> web.RequestHandler:
        return self.connection(b"", self._loop.time())

    def connection(self, first: bytes, since: float) -> Connection:
        return Connection(self, self.front, first, since, loop=self._loop, **self._kwargs)


def _guarded(handler: _Handler, front: Front) -> _Handler:
    # An unknown Expect is refused before the application's middlewares.
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.Request)
        assert isinstance(request.protocol, Connection)
        front.asked(request.protocol)
        return await errors_as_json(request, handler)

    return handle
