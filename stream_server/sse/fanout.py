"""Writes streams to their subscribers: one beat for all of them, the same bytes for everybody at one place.

A subscriber has no queue. While its socket is full it stays where it is, and reads on from the ring when
the socket has drained; if it takes nothing for the send timeout, it is disconnected.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from stream_server import clock
from stream_server.streams.console import ConsoleStream, Cursor
from stream_server.streams.hub import StreamHub
from stream_server.streams.sse_format import KEEP_ALIVE

_HOUSEKEEPING_SECONDS: Final = 1.0
_NOT_MEASURED: Final = -1
_PAUSE_SECONDS: Final = 0.005
_logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FanOutSettings:
    """How subscribers are written to. `send_buffer_bytes` bounds what the kernel holds for each."""

    tick_seconds: float = 0.05
    send_timeout_seconds: float = 20.0
    keep_alive_seconds: float = 15.0
    piece_bytes: int = 256 * 1024
    send_buffer_bytes: int = 128 * 1024


@dataclass(eq=False, slots=True)
class Subscriber:
    """One client of one stream: `done` is set when nothing more will be written to it."""

    stream: ConsoleStream
    cursor: Cursor
    transport: asyncio.Transport
    chunked: bool
    written_at: float
    done: asyncio.Event = field(default_factory=asyncio.Event)
    buffered_bytes: int = _NOT_MEASURED
    progress_at: float = 0.0


class FanOut:
    """All subscribers of the streams of a hub, in one event loop; it gives the streams their ticks.

    `store_reservation` stores the one number that keeps ids increasing across restarts; `start` awaits it
    before the first id is issued.
    """

    def __init__(
        self,
        hub: StreamHub,
        store_reservation: Callable[[int], Awaitable[None]],
        settings: FanOutSettings | None = None,
    ) -> None:
        self.send_timeouts = 0
        self._hub = hub
        self._store_reservation = store_reservation
        self._settings = settings or FanOutSettings()
        self._audiences: dict[ConsoleStream, set[Subscriber]] = {}
        self._active: set[ConsoleStream] = set()
        self._behind: dict[ConsoleStream, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beat_handle: asyncio.TimerHandle | None = None
        self._beat_at = 0.0
        self._housekeeper: asyncio.Task[None] | None = None
        hub.on_activity = self._wake

    @property
    def subscribers(self) -> int:
        """How many clients are connected."""
        return sum(map(len, self._audiences.values()))

    @property
    def unsent_bytes(self) -> int:
        """What was written for clients and the kernel has not taken."""
        audiences = self._audiences.values()
        return sum(one.transport.get_write_buffer_size() for audience in audiences for one in audience)

    async def start(self) -> None:
        """Reserves ids and begins to beat; whatever storing the reservation raises."""
        self._loop = asyncio.get_running_loop()
        await self._renew_reservation()
        self._housekeeper = asyncio.create_task(self._keep_house())
        self._arm()

    async def close(self) -> None:
        """Writes what there is, then ends every stream; a client that is behind is cut off."""
        if self._housekeeper is not None:
            self._housekeeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._housekeeper
        self._active.update(self._hub)
        self._beat()
        self._loop = None
        if self._beat_handle is not None:
            self._beat_handle.cancel()
        for audience in list(self._audiences.values()):
            for subscriber in audience:
                _dismiss(subscriber)

    def subscribe(
        self,
        stream: ConsoleStream,
        transport: asyncio.Transport,
        *,
        chunked: bool,
        opening: bytes,
        last_event_id: str | None,
        history_seconds: float,
    ) -> Subscriber:
        """A new subscriber behind already sent response headers; `opening` goes out first."""
        now = clock.now()
        self._bound_socket(transport)
        cursor = stream.open(last_event_id, history_seconds, now)
        subscriber = Subscriber(stream, cursor, transport, chunked, now.seconds)
        transport.write(_framed(opening + stream.read(cursor, self._settings.piece_bytes), chunked))
        if self._loop is None or stream.ended:
            subscriber.done.set()
        else:
            self._audiences.setdefault(stream, set()).add(subscriber)
            stream.watched = True
            self._wake(stream)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Forgets it; nothing happens when it is forgotten already."""
        audience = self._audiences.get(subscriber.stream)
        if audience is not None:
            audience.discard(subscriber)
            if not audience:
                del self._audiences[subscriber.stream]
                subscriber.stream.watched = False
        subscriber.done.set()

    def _bound_socket(self, transport: asyncio.Transport) -> None:
        connection = transport.get_extra_info("socket")
        if connection is None:
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._settings.send_buffer_bytes)
        if connection.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
            # tcp(7): the kernel gives up when sent data stays unacknowledged, or unsent against a closed
            # window, for so long; it sees dead peers while our own buffer is still empty.
            timeout_ms = int(self._settings.send_timeout_seconds * 1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)

    def _wake(self, stream: ConsoleStream) -> None:
        self._active.add(stream)
        self._arm()

    def _arm(self) -> None:
        if self._beat_handle is None and self._loop is not None and self._active:
            idle_seconds = clock.monotonic_seconds() - self._beat_at
            delay = max(0.0, self._settings.tick_seconds - idle_seconds)
            self._beat_handle = self._loop.call_later(delay, self._beat)

    def _beat(self) -> None:
        self._beat_handle = None
        now = clock.now()
        self._beat_at = now.seconds
        active, self._active = self._active, set()
        for stream in active:
            try:
                stream.tick(now)
                if self._write(stream, now.seconds) or stream.needs_ticks:
                    self._active.add(stream)
                if stream.watched and stream.is_behind:
                    self._catch_up_soon(stream)
            except Exception:
                # One stream's failure must not stop the beat of the others; housekeeping tries it again.
                _logger.exception("the stream of %s failed at a beat", stream.subject.name)
            if stream.ended:
                self._end(stream)
        self._arm()

    def _end(self, stream: ConsoleStream) -> None:
        """Whoever watches has been written what there was; a client that is behind is cut off."""
        self._active.discard(stream)
        for subscriber in list(self._audiences.get(stream, ())):
            _dismiss(subscriber)
            self.unsubscribe(subscriber)

    def _catch_up_soon(self, stream: ConsoleStream) -> None:
        if not self._behind and self._loop is not None:
            self._loop.call_soon(self._catch_up)
        self._behind[stream] = None

    def _catch_up(self) -> None:
        """One step of one stream, then a pause: what takes others several turns of the loop goes by in it."""
        stream = next(iter(self._behind))
        del self._behind[stream]
        try:
            stream.catch_up(clock.now())
            if stream.watched and stream.is_behind:
                self._behind[stream] = None
            self._wake(stream)
        except Exception:
            _logger.exception("the stream of %s failed to catch up", stream.subject.name)
        if self._behind and self._loop is not None:
            self._loop.call_later(_PAUSE_SECONDS, self._catch_up)

    def _write(self, stream: ConsoleStream, now_seconds: float) -> bool:
        """Writes to whoever can take it; whether somebody is behind afterwards."""
        pieces: dict[tuple[int, bool], tuple[bytes, int]] = {}
        behind = False
        gone: list[Subscriber] = []
        for subscriber in self._audiences.get(stream, ()):
            transport = subscriber.transport
            if transport.is_closing():
                gone.append(subscriber)
            elif buffered_bytes := transport.get_write_buffer_size():
                behind = True
                if self._timed_out(subscriber, buffered_bytes, now_seconds):
                    gone.append(subscriber)
            elif stream.has_more(subscriber.cursor):
                transport.write(self._piece(subscriber, pieces))
                subscriber.written_at = now_seconds
                subscriber.buffered_bytes = _NOT_MEASURED
                behind = behind or stream.has_more(subscriber.cursor)
            elif now_seconds - subscriber.written_at >= self._settings.keep_alive_seconds:
                transport.write(_framed(KEEP_ALIVE, subscriber.chunked))
                subscriber.written_at = now_seconds
                subscriber.buffered_bytes = _NOT_MEASURED
        for subscriber in gone:
            self.unsubscribe(subscriber)
        return behind

    def _piece(self, subscriber: Subscriber, pieces: dict[tuple[int, bool], tuple[bytes, int]]) -> bytes:
        """The bytes for `subscriber`, built once for all that stand where it stands."""
        cursor = subscriber.cursor
        place = cursor.position, subscriber.chunked
        shared = cursor.only_follows
        if shared and place in pieces:
            piece, cursor.position = pieces[place]
            return piece
        data = subscriber.stream.read(cursor, self._settings.piece_bytes)
        piece = _framed(data, subscriber.chunked)
        if shared:
            pieces[place] = piece, cursor.position
        return piece

    def _timed_out(self, subscriber: Subscriber, buffered_bytes: int, now_seconds: float) -> bool:
        if buffered_bytes != subscriber.buffered_bytes:
            subscriber.buffered_bytes = buffered_bytes
            subscriber.progress_at = now_seconds
            return False
        if now_seconds - subscriber.progress_at < self._settings.send_timeout_seconds:
            return False
        self.send_timeouts += 1
        subscriber.transport.abort()
        return True

    async def _renew_reservation(self) -> None:
        value = self._hub.ids.needs_reservation(clock.now().wall_us)
        if value is not None:
            await self._store_reservation(value)
            self._hub.ids.reserved(value)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)
            self._active.update(self._hub)
            self._arm()
            try:
                await self._renew_reservation()
            except Exception:
                # Ids go on within the present reservation for minutes; the next second tries again.
                _logger.exception("the reservation of event ids could not be stored")


def _dismiss(subscriber: Subscriber) -> None:
    if subscriber.transport.get_write_buffer_size():
        subscriber.transport.abort()
    subscriber.done.set()


def _framed(data: bytes, chunked: bool) -> bytes:
    """`data` as one chunk of RFC 9112 section 7.1, or as it is for an HTTP/1.0 client."""
    return b"%x\r\n%b\r\n" % (len(data), data) if chunked else data
