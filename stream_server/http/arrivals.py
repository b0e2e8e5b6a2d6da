"""Who comes: a connection waits for its first word, then for its turn, and costs no more than a socket."""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Final

from stream_server.access.rate_limit import address_key
from stream_server.config import LimitsSection
from stream_server.http.front import Front

# In one turn of the loop, of each line. To take one in costs about 0.04 ms, to let one in ten times that over
# the five turns until its request is looked at: it waits for as many, so that a turn has to be short.
TAKEN_AT_ONCE: Final = 128
LET_IN_AT_ONCE: Final = 16
_FIRST_BYTES: Final = 16 * 1024
_ASKS: Final = b"GET "


class Newcomer:
    """A connection that has said nothing, or whose turn has not come yet: a socket, and no more than that."""

    __slots__ = ("_loop", "_opened_at", "_spoke_at", "address", "link")

    def __init__(self, link: socket.socket, address: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._opened_at = loop.time()
        self._spoke_at: float | None = None
        self.link: Final = link
        self.address: Final = address

    def has_spoken(self) -> None:
        """From now on it waits for us."""
        self._spoke_at = self._loop.time()

    def since(self, now_seconds: float) -> float:
        """When its clock has begun; the time that it waits for us is not counted."""
        return self._opened_at + (0.0 if self._spoke_at is None else now_seconds - self._spoke_at)

    def overdue(self, now_seconds: float, limits: LimitsSection) -> str | None:
        """Why it has to end: it says nothing."""
        return "head" if now_seconds - self.since(now_seconds) > limits.head_seconds else None

    def abort(self) -> None:
        """End it now."""
        if self.is_open:
            self._loop.remove_reader(self.link.fileno())
            self.link.close()

    @property
    def is_open(self) -> bool:
        """Whether it has not been ended."""
        return self.link.fileno() >= 0


class _Line:
    """Those who wait for their turn: of each address one, and again."""

    def __init__(self) -> None:
        self.room = LET_IN_AT_ONCE
        self._waiting: OrderedDict[str, deque[Newcomer]] = OrderedDict()

    def add(self, newcomer: Newcomer) -> None:
        self._waiting.setdefault(address_key(newcomer.address), deque()).append(newcomer)

    def next(self) -> Newcomer | None:
        """Whose turn it is; None where nobody waits, or there is no room left in this turn of the loop."""
        while self.room and self._waiting:
            address, same = self._waiting.popitem(last=False)
            newcomer = same.popleft()
            if same:
                self._waiting[address] = same
            if newcomer.is_open:
                self.room -= 1
                return newcomer
        return None


class Arrivals:
    """Takes in whoever comes, and lets in who speaks: those who ask, and those who bring something.

    Each line has its room: who asks does not wait for the next turn since the others have filled this one.
    `make`: a protocol for who is let in, of the first bytes it sent and when its clock has begun.
    """

    def __init__(self, front: Front, make: Callable[[bytes, float], asyncio.Protocol]) -> None:
        self._front: Final = front
        self._make: Final = make
        self._loop: Final = asyncio.get_running_loop()
        self._asking, self._bringing = _Line(), _Line()
        self._room_is_coming = False
        self._going_in: Final[set[asyncio.Task[object]]] = set()

    def take_in(self, listening: socket.socket) -> None:
        """Whoever waits there, but not too many in one turn. OSError without a descriptor for them."""
        for _ in range(TAKEN_AT_ONCE):
            try:
                link, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            link.setblocking(False)
            newcomer = Newcomer(link, str(peer[0]), self._loop)
            if self._front.opened(newcomer, newcomer.address):
                self._listen_to(newcomer)
            else:
                newcomer.abort()

    def close(self) -> None:
        """End all that wait."""
        for one in self._front.connections:
            if isinstance(one, Newcomer):
                self._end(one)

    def _listen_to(self, newcomer: Newcomer) -> None:
        word = _received(newcomer.link, len(_ASKS), socket.MSG_PEEK)
        if word is None:
            self._loop.add_reader(newcomer.link.fileno(), self._speaks, newcomer)
        else:
            self._heard(newcomer, word)

    def _speaks(self, newcomer: Newcomer) -> None:
        self._loop.remove_reader(newcomer.link.fileno())
        self._listen_to(newcomer)

    def _heard(self, newcomer: Newcomer, word: bytes) -> None:
        if not word:
            self._end(newcomer)
            return
        newcomer.has_spoken()
        self._front.asked(newcomer)
        line = self._asking if word == _ASKS else self._bringing
        line.add(newcomer)
        self._let_in(line)

    def _let_in(self, line: _Line) -> None:
        while (newcomer := line.next()) is not None:
            self._open(newcomer)
        if line.room < LET_IN_AT_ONCE and not self._room_is_coming:
            self._room_is_coming = True
            self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._room_is_coming = False
        for line in (self._asking, self._bringing):
            line.room = LET_IN_AT_ONCE
            self._let_in(line)

    def _open(self, newcomer: Newcomer) -> None:
        first = _received(newcomer.link, _FIRST_BYTES)
        if not first:
            self._end(newcomer)
            return
        self._front.closed(newcomer)  # the protocol takes a place of its own
        made = partial(self._make, first, newcomer.since(self._loop.time()))
        task = self._loop.create_task(self._loop.connect_accepted_socket(made, newcomer.link))
        self._going_in.add(task)
        task.add_done_callback(self._going_in.discard)

    def _end(self, newcomer: Newcomer) -> None:
        self._front.closed(newcomer)
        newcomer.abort()


def _received(link: socket.socket, most: int, flags: int = 0) -> bytes | None:
    """What has come; nothing where the other side is gone, None where it has said nothing."""
    try:
        return link.recv(most, flags)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""
