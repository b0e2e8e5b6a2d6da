"""One direction at work: the pure machine, and what its source, its sink and storage wait for."""

from __future__ import annotations

import asyncio

from can_stream.protocol.relay_control import Credit, Direction, SinkHello, SinkState
from stream_server.groups.group_state import DirectionBooks
from stream_server.relay.direction import RelayDirection
from stream_server.relay.relay_store import Way
from stream_server.relay.values import Served


class Link:
    """`wake` is set whenever there may be something to hand. `credit_frames`: how many may be handed since
    directions of number `since`; `handed_frames`: how many were. `owner`: the
    connection that it is handed on. `is_asked`: its sink has heard these directions. `from_log`: its source
    plays a log, as the activation has pinned it.
    """

    def __init__(self, way: Way, group_id: str, direction: RelayDirection) -> None:
        self.way = way
        self.group_id = group_id
        self.direction = direction
        self.wake = asyncio.Event()
        self.owner: object | None = None
        self.is_asked = False
        self.from_log = False
        self.waits_for = ""
        self.latency_ms: tuple[float, float] | None = None
        self.handed_frames = 0
        self._credit_frames = 0
        self._since = -1
        self._unheard: Served | None = None

    @property
    def room_frames(self) -> int:
        """How many frames its sink has asked for and not been handed."""
        return max(0, self._credit_frames - self.handed_frames)

    def greeted(self, hello: SinkHello, now_ns: int) -> Direction:
        """A connection of its sink says hello. One that was told to begin anew, and has not said that it
        heard that, is told again."""
        if self._unheard is not None:
            self.direction.serving = self._unheard
        before = self.direction.serving
        said = self.direction.greeted(hello, now_ns)
        self._unheard = before if said.begins_anew else None
        return said

    def served(self, record_id: str) -> None:
        """Its sink has heard what it was told, and that is stored: now things are handed."""
        self._unheard = None
        self.direction.served(record_id)

    def directed(self, owner: object, number: int) -> None:
        """Directions of this number are said on a connection: what was asked for before is void."""
        self.owner = owner
        self.is_asked = False
        self.handed_frames = self._credit_frames = 0
        self._since = number
        self.waits_for = ""

    def credit(self, said: Credit) -> None:
        """Its sink has room."""
        if said.since == self._since:
            self.is_asked = True
            self._credit_frames = max(self._credit_frames, said.frames)
            self.wake.set()

    def state(self, said: SinkState) -> None:
        """How its sink stands."""
        self.waits_for = said.waits_for
        if said.latency_ms is not None:
            self.latency_ms = said.latency_ms

    def lost(self, owner: object) -> None:
        """A connection of its sink has gone: a newer one may be here already."""
        if self.owner is not owner:
            return
        self.owner = None
        self.direction.lost()
        self.handed_frames = self._credit_frames = 0
        self._since = -1
        self.waits_for, self.latency_ms = "", None

    def books(self, now_ns: int) -> DirectionBooks:
        """What `group_state` says of it."""
        books = self.direction.books(now_ns)
        totals = books.totals
        return DirectionBooks(
            books.buffered_frames,
            totals.sent,
            totals.accepted,
            totals.in_doubt,
            {str(reason): frames for reason, frames in totals.not_sent.items()},
            self.latency_ms,
            books.replaying,
            books.buffer_pressure,
            self.waits_for,
            books.missing_frames,
            books.counted,
        )
