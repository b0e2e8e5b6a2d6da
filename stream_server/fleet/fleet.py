"""The fleet as it is now: who is connected, which dongles are whose, and telling the consoles about it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from aiohttp import web
from sqlalchemy import Connection, Row

from can_stream.protocol.clock_record import MAX_BOOT_ID_BYTES, OFFSET_LIMIT_NS, ClockRecord
from can_stream.protocol.control import DongleInfo, Error, Hello, LaneName, encode_control_message
from can_stream.text.timestamps import format_timestamp
from stream_server import clock
from stream_server.access import audit
from stream_server.errors import StorageError, not_found
from stream_server.fleet import registry
from stream_server.fleet.agent_events import AgentEvents
from stream_server.fleet.connections import Connections, Endpoint
from stream_server.fleet.presence import Presence, Transition
from stream_server.fleet.presence_payload import presence_payload
from stream_server.fleet.side import Side, side_of
from stream_server.moment import Moment
from stream_server.signals.last_value_store import LastValueStore
from stream_server.storage.database import Database
from stream_server.streams.console import ConsoleStream
from stream_server.streams.hub import StreamHub

REPLACED: Final = 4001
TOKEN_VOID: Final = 4002
DUPLICATE_IDENTITY: Final = 4003
OVER_SHARE: Final = 1013
_SAID_BEFORE: Final = {DUPLICATE_IDENTITY: "DUPLICATE_IDENTITY", OVER_SHARE: "OVER_SHARE"}
MAX_REASON_BYTES: Final = 120
"""RFC 6455, section 5.5, allows 123."""
WentBack: TypeAlias = tuple[str, int, int]
"""A start, how many of its frames were acknowledged, how many are recorded."""
_logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Dongle:
    """What the streams need to know of a dongle; `bus` is its channel.

    `sends_frames`: whether its frames lane carries any. `signal_table`: the hash of its current table.
    `side`: what it is to a relay.
    """

    dongle_id: str
    agent_id: str
    bus: str
    listed: bool
    sends_frames: bool
    signal_table: str | None
    side: Side


class Fleet:
    """All agents and dongles of one server, in memory, behind storage.

    Called with an agent's id: `on_listed` when its dongles are as it says from now on, before it is answered;
    `on_duplicate` when two machines use its identity; `on_went_back`, with none, when its books say that this
    server has lost what it had.
    """

    def __init__(self, database: Database, hub: StreamHub, last_values: LastValueStore) -> None:
        self.on_listed: Callable[[str], None] = _nobody_minds
        self.on_duplicate: Callable[[str], None] = _nobody_minds
        self.on_went_back: Callable[[], Awaitable[None]] = _nobody_waits
        self.presence: Final = Presence()
        self.connections: Final[Connections[web.WebSocketResponse]] = Connections()
        self.events: Final = AgentEvents(hub)
        self._database = database
        self._hub = hub
        self._last_values = last_values
        self._dongles: dict[str, Dongle] = {}
        self._dongles_of: dict[str, dict[str, Dongle]] = {}
        self._clocks: dict[str, bool | None] = {}
        self._right_clocks: dict[str, ClockRecord] = {}
        self._handlers: dict[web.WebSocketResponse, asyncio.Task[object]] = {}
        self._dismissed: dict[web.WebSocketResponse, tuple[int, str]] = {}

    async def load(self) -> None:
        """Read the fleet from storage; everybody is offline until seen."""
        agents, _ = await self._database.read(registry.agent_rows)
        for row in agents:
            self.presence.restore(row.agent_id, row.last_seen_at_ns or 0)
            self._clocks[row.agent_id] = row.clock_synchronised
        dongles = await self._database.read(registry.dongle_rows)
        self._remember(dongles)
        for row in dongles:
            if row.sampling_set:
                self.stream(row.dongle_id).max_frames_per_second = row.max_frames_per_second

    def dongle(self, dongle_id: str) -> Dongle:
        """A known dongle. ApiError DONGLE_NOT_FOUND."""
        dongle = self._dongles.get(dongle_id)
        if dongle is None:
            raise not_found("dongle", dongle_id)
        return dongle

    def owner_of(self, dongle_id: str) -> str:
        """The agent of a dongle; one that is only in the recording, as after a restore, is its own."""
        dongle = self._dongles.get(dongle_id)
        return dongle_id if dongle is None else dongle.agent_id

    def stream(self, dongle_id: str) -> ConsoleStream:
        """The console of a known dongle. ApiError DONGLE_NOT_FOUND."""
        self.dongle(dongle_id)
        return self._hub.get(dongle_id)

    def dongles_of(self, agent_id: str) -> list[Dongle]:
        """Every dongle the agent has ever listed."""
        return list(self._dongles_of.get(agent_id, {}).values())

    def agents(self) -> list[str]:
        """Every agent that has ever listed a dongle."""
        return list(self._dongles_of)

    def held_bytes(self, agent_id: str) -> tuple[int, int]:
        """About what the consoles of an agent hold: each by itself, and what they share."""
        own = sum(self._hub.get(dongle.dongle_id).own_bytes for dongle in self.dongles_of(agent_id))
        return own, self.events.shared_bytes(agent_id)

    @contextlib.asynccontextmanager
    async def connected(
        self, agent_id: str, endpoint: Endpoint, connection: web.WebSocketResponse, remote: str
    ) -> AsyncIterator[None]:
        """`connection`, just upgraded, speaks for the agent while this is open; an older one is closed.

        The handler inside is cancelled when the connection is dismissed, and goes on after this block.
        """
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers[connection] = handler
        swap = self.connections.upgraded(agent_id, endpoint, connection, clock.monotonic_seconds())
        self.presence.opened(agent_id, connection, clock.monotonic_seconds(), clock.wall_ns())
        self.announce(self.presence.changes())
        if swap.replaced is not None and swap.duplicate_identity:
            self.dismiss([swap.replaced], DUPLICATE_IDENTITY, _duplicate_identity(agent_id))
            self.on_duplicate(agent_id)
        elif swap.replaced is not None:
            self.dismiss([swap.replaced], REPLACED, "replaced by a newer connection of this agent")
        try:
            if swap.is_news:
                await self._report_duplicate(agent_id, endpoint, remote)
            yield
        except asyncio.CancelledError:
            if connection not in self._dismissed:
                raise
            handler.uncancel()
        finally:
            del self._handlers[connection]
            self.connections.gone(agent_id, endpoint, connection)
            self.presence.closed(agent_id, connection, clock.monotonic_seconds())
            code, reason = self._dismissed.pop(connection, (1000, ""))
            if code in _SAID_BEFORE:
                with contextlib.suppress(ConnectionError):
                    await connection.send_str(encode_control_message(Error(_SAID_BEFORE[code], reason)))
            await connection.close(code=code, message=reason.encode()[:MAX_REASON_BYTES])

    def seen(self, agent_id: str) -> None:
        """Bytes came from the agent."""
        if self.presence.seen(agent_id, clock.monotonic_seconds(), clock.wall_ns()):
            self.announce(self.presence.changes())

    async def hello(self, hello: Hello, remote: str) -> list[str]:
        """An agent has started or come back. Returns the dongle ids that belong to other agents."""
        now_ns = clock.wall_ns()

        def store(connection: Connection) -> tuple[list[str], list[Row[Any]]]:
            registry.started(connection, hello, now_ns, remote)
            return _list_dongles(connection, hello.agent_id, hello.dongles, now_ns, remote, hello.relay)

        refused, rows = await self._database.write(store)
        self._clocks[hello.agent_id] = hello.clock_synchronised
        self._right_clocks.pop(hello.agent_id, None)
        offset_ns = hello.wall_ns - hello.monotonic_ns
        if hello.clock_synchronised and abs(offset_ns) < OFFSET_LIMIT_NS:
            right_clock = ClockRecord(hello.boot_id[:MAX_BOOT_ID_BYTES], offset_ns, synchronised=True)
            self._right_clocks[hello.agent_id] = right_clock
        self._listed(hello.agent_id, rows)
        return refused

    def right_clock(self, agent_id: str) -> ClockRecord | None:
        """The agent's clock as its last hello says it; None where that was not synchronised."""
        return self._right_clocks.get(agent_id)

    async def devices(self, agent_id: str, dongles: Sequence[DongleInfo], remote: str) -> list[str]:
        """The agent's dongles have changed. Returns the ids that belong to other agents."""
        now_ns = clock.wall_ns()
        refused, rows = await self._database.write(
            lambda connection: _list_dongles(connection, agent_id, dongles, now_ns, remote)
        )
        self._listed(agent_id, rows)
        return refused

    async def heartbeat(self, agent_id: str, *, clock_synchronised: bool) -> None:
        """The agent is alive."""
        changed = self._clocks.get(agent_id) != clock_synchronised
        self._clocks[agent_id] = clock_synchronised
        self.seen(agent_id)
        if changed:
            self.announce([self.presence.of(agent_id)])
        now_ns = clock.wall_ns()
        await self._database.write(
            lambda connection: registry.heartbeat(connection, agent_id, clock_synchronised, now_ns)
        )

    def log(
        self, agent_id: str, payload: dict[str, Any], *, dongle_id: str | None = None, wall_ns: int = 0
    ) -> None:
        """A `log` event {"level","source","message","details"} on one of the agent's dongles, or on all."""
        now = clock.now()
        ts = format_timestamp(wall_ns // 1000 if wall_ns else now.wall_us)
        named = {"agent_id": agent_id} | ({} if dongle_id is None else {"dongle_id": dongle_id})
        known = [one.dongle_id for one in self.dongles_of(agent_id) if dongle_id in (None, one.dongle_id)]
        self.events.emit(agent_id, known, "log", {"ts": ts, **payload, **named}, now)

    def announce(self, transitions: Iterable[Transition]) -> None:
        """Tell the consoles that agents came or went."""
        now = clock.now()
        for transition in transitions:
            for dongle in self.dongles_of(transition.agent_id):
                self._tell(dongle, transition, now)

    async def tick(self) -> None:
        """Find out who has gone. Call it every second."""
        gone = self.presence.due(clock.monotonic_seconds())
        self.announce(gone)
        seen = {transition.agent_id: transition.seen_at_ns for transition in gone}
        if seen:
            await self._database.write(lambda connection: registry.store_last_seen(connection, seen))

    async def set_sampling(self, dongle_id: str, limit: int | None, actor: str, remote: str) -> None:
        """Store the console's sampling limit and apply it at once; None is no limit."""
        stream = self.stream(dongle_id)
        now_ns = clock.wall_ns()
        await self._database.write(
            lambda connection: registry.set_sampling(connection, dongle_id, limit, now_ns, actor, remote)
        )
        stream.max_frames_per_second = limit

    def dismiss(self, connections: Iterable[web.WebSocketResponse], code: int, reason: str) -> None:
        """Have connections closed by their handlers, without waiting for it.

        aiohttp's `close` from another task drops the socket before the peer has answered, and a reset then
        overtakes the reason.
        """
        for connection in connections:
            if connection in self._handlers and connection not in self._dismissed:
                self._dismissed[connection] = (code, reason)
                self._handlers[connection].cancel()

    async def close(self) -> None:
        """Close every connection, and store when each agent was last seen."""
        handlers = list(self._handlers.values())
        self.dismiss(list(self._handlers), 1001, "the server is stopping")
        if handlers:
            await asyncio.wait(handlers)
        seen = {agent_id: self.presence.of(agent_id).seen_at_ns for agent_id in self._clocks}
        with contextlib.suppress(StorageError):
            await self._database.write(lambda connection: registry.store_last_seen(connection, seen))

    async def _report_duplicate(self, agent_id: str, endpoint: Endpoint, remote: str) -> None:
        message = f"duplicate identity: {_duplicate_identity(agent_id)}"
        _logger.warning("%s (last from %s)", message, remote)
        details = {"agent_id": agent_id, "endpoint": endpoint, "remote": remote}
        self.log(agent_id, {"level": "error", "source": "server", "message": message, "details": details})
        now_ns = clock.wall_ns()
        await self._database.write(
            lambda connection: audit.record(
                connection,
                now_ns,
                actor="server",
                action="agent.duplicate_identity",
                subject=f"agent:{agent_id}",
                remote=remote,
                after={"endpoint": endpoint},
            )
        )

    async def server_went_back(self, dongle_id: str, lane: LaneName, starts: Iterable[WentBack]) -> None:
        """An agent's books say that more was acknowledged than the recording has: say so, once a start."""
        dongle = self.dongle(dongle_id)
        for start_id, acknowledged, recorded in starts:
            details = {"lane": lane, "start_id": start_id, "acknowledged": acknowledged, "recorded": recorded}
            message = (
                f"the server went back to an older state: of start {start_id} of {dongle_id} ({lane}) it had "
                f"acknowledged {acknowledged}, and has {recorded} in its recording; what its agent has no "
                "longer is a gap (server_restored). A backup was restored, or the recording was damaged"
            )
            _logger.warning("%s", message)
            payload = {"level": "warning", "source": "server", "message": message, "details": details}
            self.log(dongle.agent_id, payload, dongle_id=dongle_id)
            await self._database.write(partial(_record_went_back, dongle_id=dongle_id, details=details))
        await self.on_went_back()

    def _listed(self, agent_id: str, rows: Iterable[Row[Any]]) -> None:
        self._remember(rows)
        for dongle in self.dongles_of(agent_id):
            if dongle.listed:
                self._last_values.declare(dongle.dongle_id, dongle.signal_table)
        self.on_listed(agent_id)
        self.seen(agent_id)
        self.announce([self.presence.of(agent_id)])

    def _remember(self, rows: Iterable[Row[Any]]) -> None:
        now = clock.now()
        for row in rows:
            dongle = Dongle(
                row.dongle_id,
                row.agent_id,
                row.channel,
                row.listed,
                sends_frames=row.frames_mode != "off",
                signal_table=row.signal_table,
                side=side_of(row),
            )
            self._dongles[dongle.dongle_id] = dongle
            self._dongles_of.setdefault(dongle.agent_id, {})[dongle.dongle_id] = dongle
            self._hub.feed(dongle.dongle_id).set_table(dongle.signal_table)
            self._tell(dongle, self.presence.of(dongle.agent_id), now)

    def _tell(self, dongle: Dongle, agent: Transition, now: Moment) -> None:
        synchronised = bool(self._clocks.get(dongle.agent_id))
        payload = presence_payload(
            dongle.dongle_id, agent, listed=dongle.listed, clock_synchronised=synchronised
        )
        self._hub.feed(dongle.dongle_id).set_presence(payload, now)


def _nobody_minds(_agent_id: str) -> None:
    """Until somebody does."""


async def _nobody_waits() -> None:
    """Until somebody does."""


def _duplicate_identity(agent_id: str) -> str:
    return f"two machines use the identity of agent {agent_id}: enrol one of them under another id"


def _record_went_back(connection: Connection, dongle_id: str, details: dict[str, Any]) -> None:
    action, subject = "recording.went_back", f"dongle:{dongle_id}"
    now_ns = clock.wall_ns()
    audit.record(connection, now_ns, actor="server", action=action, subject=subject, after=details)


def _list_dongles(
    connection: Connection,
    agent_id: str,
    dongles: Sequence[DongleInfo],
    now_ns: int,
    remote: str,
    knows_relay: bool | None = None,
) -> tuple[list[str], list[Row[Any]]]:
    refused = registry.list_dongles(connection, agent_id, dongles, now_ns, remote)
    registry.store_relay_sides(connection, agent_id, dongles, knows_relay)
    return refused, registry.dongles_of(connection, agent_id)
