"""The uplink: stays connected to the stream server for as long as the agent runs.

Rules live elsewhere (`can_stream.lanes.sender`, `reconnecting`), bytes are moved by `connection`; this shell
makes one connection after the other, and says how things stand.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from can_stream.lanes.sender import LaneSender
from can_stream.protocol.control import AgentControlMessage
from edge_agent.errors import UplinkError
from edge_agent.host.backoff import UPLINK_POLICY, Backoff
from edge_agent.host.clock import Clock
from edge_agent.uplink.connection import Answers, Connection
from edge_agent.uplink.counts import UplinkCounts
from edge_agent.uplink.keys import LOOK_SECONDS, Keys
from edge_agent.uplink.lost import OPEN_TIMEOUT_SECONDS, LostError
from edge_agent.uplink.opening import ServerDoor
from edge_agent.uplink.reconnecting import Reconnecting
from edge_agent.uplink.state import UplinkEvent, UplinkState
from edge_agent.uplink.traffic import Traffic

# A way that has come may need another moment, and an attempt that is under way may yet succeed.
LEAST_ATTEMPT_SECONDS: Final = 2.0
MAX_GIVEN_UP: Final = 5


class Uplink:
    """Streams lanes and control messages of one agent to one server; lanes say themselves what they have.

    `hopeless_at_first`: faults that are mistakes rather than weather where nothing was ever reached.
    """

    def __init__(
        self,
        url: str,
        token: str,
        answers: Answers,
        lanes: Sequence[LaneSender],
        *,
        clock: Clock,
        ca_file: Path | None = None,
        token_files: Sequence[Path] = (),
        backoff: Backoff | None = None,
    ) -> None:
        self.hopeless_at_first: Collection[str] = ()
        self.lanes = lanes
        self._traffic = Traffic(lanes)
        self.progress = self._traffic.progress
        self._answers = answers
        self._clock = clock
        self._keys = Keys(token, ca_file, token_files)
        self.door: Final = ServerDoor(url, self._keys, self.counts)
        self._try_again = asyncio.Event()
        self._given_up = 0
        self._reconnecting = Reconnecting(url, backoff or Backoff(UPLINK_POLICY, random.random))

    def name_token_file(self, path: str, agent_id: str) -> None:
        """Where remedies put another token, and whose, when there are no `token_files` to look at."""
        self._keys.token_file, self._keys.agent_id = path, agent_id

    @property
    def state(self) -> UplinkState:
        """How it stands."""
        return self._reconnecting.state

    @property
    def counts(self) -> UplinkCounts:
        """What it has moved and gone through."""
        return self._traffic.counts

    @property
    def is_hopeless(self) -> bool:
        """Whether only a person can help, though it is tried again."""
        has_never_streamed = not self.counts.connections
        return self.state.refused or (has_never_streamed and self.state.fault in self.hopeless_at_first)

    def stalled_seconds(self, now_seconds: float) -> float:
        """For how long a lane that has something to send has been given no ack, while connected."""
        return self._traffic.stalled_seconds(now_seconds) if self.state.connected else 0.0

    @property
    def server_offset_ns(self) -> int | None:
        """How far the server's wall clock was from our monotonic one; None before the first welcome."""
        return self._traffic.server_offset_ns

    def reconnect(self) -> None:
        """There are new dongles or lanes: greet the server again with all of them."""
        self._traffic.greet_again.set()
        self._take_event(UplinkEvent.GREET_AGAIN)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that acks or connections bring about. UplinkError where it is hopeless."""
        while not condition():
            if self.is_hopeless:
                raise UplinkError(self.state.reason)
            self.progress.clear()
            await self.progress.wait()

    def say(self, control_message: AgentControlMessage) -> bool:
        """Queue a control message; False when it had to be dropped, see `Traffic.say`."""
        return self._traffic.say(control_message)

    def allow_bytes(self, count: int) -> None:
        """So much may still be sent from now on, but for presence."""
        self._traffic.allow_bytes(count)

    def network_changed(self) -> None:
        """There may be another way: it is tried at once, and what is connected has to answer soon."""
        if self.state.connected:
            self._traffic.network_changed.set()
        elif not self.state.refused:
            self._try_again.set()

    def look_at_keys(self, *, try_again: bool = False) -> None:
        """Token and CAs are read again where their files have changed, and tried at once, or anyway."""
        if (self._keys.look() or try_again) and not self.state.connected:
            self._try_again.set()

    async def keep_keys(self) -> None:
        """Looks at them each second, until cancelled."""
        while self._keys.is_watched:
            await asyncio.sleep(LOOK_SECONDS)
            self.look_at_keys()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            self._traffic.greet_again.clear()
            self._try_again.clear()
            try:
                await self._connect()
            except LostError as lost:
                event = UplinkEvent.REFUSED if lost.refused else UplinkEvent.LOST
                wait_seconds = self._take_event(event, lost.reason, lost.fault)
                self._given_up = 0
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0 if lost.at_once else wait_seconds):
                        await self._try_again.wait()

    async def _connect(self) -> None:
        """One connection to its end; given up before it is welcomed where there is another way. LostError."""
        connection = Connection(
            self.door, self._traffic, self._answers, self._clock, on_welcome=self._welcomed
        )
        running = asyncio.create_task(connection.run())
        hurrying = asyncio.create_task(self._another_way())
        try:
            await asyncio.wait([running, hurrying], return_when=asyncio.FIRST_COMPLETED)
            if running.done() or self.state.connected:
                # Not itself: a connection that breaks as it is closed would hide that this task is cancelled.
                await asyncio.wait([running])
                running.result()
            else:
                self._given_up += 1
        finally:
            for task in (running, hurrying):
                task.cancel()
            await asyncio.gather(running, hurrying, return_exceptions=True)

    async def _another_way(self) -> None:
        """Returns when an attempt may be given up for another one: not too soon, and not again and again."""
        await self._try_again.wait()
        await asyncio.sleep(LEAST_ATTEMPT_SECONDS if self._given_up < MAX_GIVEN_UP else OPEN_TIMEOUT_SECONDS)

    def _welcomed(self) -> None:
        if not self._traffic.greet_again.is_set():  # else it is greeted again at once
            self._traffic.welcomed(self._clock.monotonic_seconds())
            self._take_event(UplinkEvent.WELCOMED)

    def _take_event(self, event: UplinkEvent, reason: str = "", fault: str = "") -> float:
        """Says how things stand now; how long to wait before the next attempt."""
        step = self._reconnecting.take_event(event, self._clock.monotonic_seconds(), reason, fault)
        if step is None:
            return 0.0
        self.counts.changed(step.state.phase, self._clock.wall_ns())
        self.progress.set()
        self._answers.on_state(step.state)
        return step.wait_seconds
