"""The connection /ws/relay of a running agent: one after the other, for as long as there are sinks.

Rules live in `session`; this shell moves messages, keeps the beat of the pings, and comes back after a while.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from msgspec import Struct
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from can_stream.protocol.control import encode_control_message, version_of
from can_stream.protocol.errors import WireError
from can_stream.protocol.packet_head import MAX_PACKET_BYTES
from can_stream.protocol.relay_control import Direction, GroupStanding
from edge_agent.host.backoff import UPLINK_POLICY, Backoff
from edge_agent.host.clock import Clock
from edge_agent.relay.downlink.session import RelaySession
from edge_agent.relay.sink import Sink
from edge_agent.uplink.lost import LostError, lost_by_closing, lost_by_error
from edge_agent.uplink.opening import CLOSE_TIMEOUT_SECONDS, ServerDoor

PATH: Final = "/ws/relay"
# A packet that does not deflate, and what is in front of it.
MAX_DOWN_BYTES: Final = MAX_PACKET_BYTES + 1152
# 2,000 messages/s for hours: the fastest bus, a packet of few frames each. Credit bounds what is in them.
MOST_FRAMES: Final = 20_000
PINGS_IN_A_LEASE: Final = 4
# Directions, and an answer to each ping.
ANSWER_SECONDS: Final = 10.0
# What has come meanwhile is said together.
REPORT_SECONDS: Final = 0.02
_LOOK_SECONDS: Final = 0.2
_logger: Final = logging.getLogger(__name__)


class DownlinkState(Struct, frozen=True):
    """Whether frames can come, and why not."""

    connected: bool
    message: str


class Downlink:
    """`on_state` is told of each change; `on_news` is called where sinks may have something to do.

    `may_connect`: whether the server is worth a try, for who streams to it knows that already. `malformed`:
    how often it broke the rules.
    """

    def __init__(
        self,
        door: ServerDoor,
        start_id: str,
        sinks: Mapping[str, Sink],
        lease_seconds: float,
        clock: Clock,
        may_connect: Callable[[], bool] = lambda: True,
        on_news: Callable[[], None] = lambda: None,
        on_state: Callable[[DownlinkState], None] = lambda _: None,
    ) -> None:
        self.state = DownlinkState(connected=False, message="not connected yet")
        self.malformed = 0
        self._door = door
        self._start_id = start_id
        self._sinks = sinks
        self._ping_seconds = lease_seconds / PINGS_IN_A_LEASE
        self._clock = clock
        self._may_connect = may_connect
        self._on_news = on_news
        self._on_state = on_state
        self._backoff = Backoff(UPLINK_POLICY, random.random)
        self._has_reports = asyncio.Event()
        self._directions: dict[str, Direction] = {}
        self._groups: dict[str, GroupStanding] = {}

    def direction(self, dongle_id: str) -> Direction | None:
        """What is relayed to this dongle; None where nothing is."""
        return self._directions.get(dongle_id)

    def group(self, dongle_id: str) -> GroupStanding | None:
        """How the server says the dongle's group stands; None where it has none, or said nothing of it."""
        return self._groups.get(dongle_id)

    def reports_wait(self) -> None:
        """A sink has something to report."""
        self._has_reports.set()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            if not self._may_connect():
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            try:
                await self._connect()
            except LostError as lost:
                now_seconds = self._clock.monotonic_seconds()
                failed = self._backoff.refused if lost.refused else self._backoff.failed
                self._become(DownlinkState(connected=False, message=lost.reason))
                await asyncio.sleep(failed(now_seconds))

    async def _connect(self) -> None:
        """One connection to its end. LostError."""
        connection = await self._door.open(PATH, MAX_DOWN_BYTES, MOST_FRAMES)
        session = RelaySession(self._sinks)
        try:
            if version_of(connection.subprotocol) == 1:
                raise LostError("the server is too old for the relay: update it", fault="server_error")
            await connection.send(encode_control_message(session.hello(self._start_id)))
            await self._serve(connection, session)
        except ConnectionClosed as closed:
            raise lost_by_closing(closed) from closed
        except WireError as error:
            self.malformed += 1
            _logger.warning("relay: %s broke the rules, nothing of it is sent: %s", self._door.url, error)
            await _close(connection, CloseCode.INVALID_DATA, str(error))
            raise LostError(f"{self._door.url} does not speak this protocol: {error}") from error
        except (LostError, asyncio.CancelledError):
            raise
        except Exception as error:  # whatever it is, the agent must go on
            _logger.warning("relay: the connection broke in an unexpected way", exc_info=True)
            raise LostError(f"the connection broke ({type(error).__name__}: {error})") from error
        finally:
            session.end(self._clock.boottime_ns())
            self._directions, self._groups = {}, {}
            self._on_news()
            await _close(connection)

    async def _serve(self, connection: ClientConnection, session: RelaySession) -> None:
        jobs: list[Awaitable[None]] = [
            self._take(connection, session),
            self._ping(connection, session),
            self._report(connection, session),
        ]
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, connection: ClientConnection, session: RelaySession) -> None:
        async for content in connection:
            error = session.take(content, self._clock.boottime_ns())
            if error is not None:
                raise lost_by_error(self._door.way, error)
            if session.is_directed and not self.state.connected:
                self._backoff.connected(self._clock.monotonic_seconds())
                self._become(DownlinkState(connected=True, message="connected"))
            self._directions, self._groups = session.directions, session.groups
            self._on_news()
            self._has_reports.set()
        raise LostError(f"{self._door.url} closed the connection")

    async def _ping(self, connection: ClientConnection, session: RelaySession) -> None:
        while True:
            now_ns = self._clock.boottime_ns()
            if session.unanswered_ns(now_ns) > ANSWER_SECONDS * 1e9:
                raise LostError(f"no answer to a ping within {ANSWER_SECONDS:.0f} s")
            await connection.send(encode_control_message(session.ping(now_ns)))
            await asyncio.sleep(self._ping_seconds)

    async def _report(self, connection: ClientConnection, session: RelaySession) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._has_reports.wait()
            self._has_reports.clear()
            for said in session.reports(self._clock.boottime_ns()):
                await connection.send(encode_control_message(said))
            await asyncio.sleep(REPORT_SECONDS)

    def _become(self, state: DownlinkState) -> None:
        if state != self.state:
            self.state = state
            self._on_state(state)


async def _close(connection: ClientConnection, code: int = 1000, reason: str = "") -> None:
    """Said to the other side, which may not listen."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS + 0.1):
            await connection.close(code, reason.encode()[:100].decode(errors="ignore"))
    except TimeoutError:
        with suppress(AttributeError):
            connection.transport.abort()
    except Exception:  # as a transport of Python 3.11 does: whatever it is, the agent must go on
        _logger.debug("relay: the connection broke as it was closed", exc_info=True)
