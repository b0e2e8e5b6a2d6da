"""The uplink: stays connected to the stream server for as long as the agent runs.

Rules live elsewhere (`can_stream.lanes.sender`, `reconnecting`), bytes are moved by `connection`; this shell
makes one connection after the other, and says how things stand.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from can_stream.lanes.sender import LaneSender
from can_stream.protocol.control import AgentControlMessage
from edge_agent.errors import UplinkError
from edge_agent.host.backoff import UPLINK_POLICY, Backoff
from edge_agent.host.clock import Clock
from edge_agent.uplink.connection import Answers, Connection
from edge_agent.uplink.counts import UplinkCounts
from edge_agent.uplink.lost import LostError
from edge_agent.uplink.opening import ServerDoor
from edge_agent.uplink.reconnecting import Reconnecting
from edge_agent.uplink.state import UplinkEvent, UplinkState
from edge_agent.uplink.traffic import Traffic


class Uplink:
    """Streams lanes and control messages of one agent to one server; lanes say themselves what they have."""

    def __init__(
        self,
        url: str,
        token: str,
        answers: Answers,
        lanes: Sequence[LaneSender],
        *,
        clock: Clock,
        ca_file: Path | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.lanes = lanes
        self._traffic = Traffic(lanes)
        self.progress = self._traffic.progress
        self._answers = answers
        self._clock = clock
        self._door = ServerDoor(url, token, ca_file, self.counts)
        self._reconnecting = Reconnecting(url, backoff or Backoff(UPLINK_POLICY, random.random))

    @property
    def state(self) -> UplinkState:
        """How it stands."""
        return self._reconnecting.state

    @property
    def counts(self) -> UplinkCounts:
        """What it has moved and gone through."""
        return self._traffic.counts

    @property
    def server_offset_ns(self) -> int | None:
        """How far the server's wall clock was from our monotonic one; None before the first welcome."""
        return self._traffic.server_offset_ns

    def reconnect(self) -> None:
        """There are new dongles or lanes: greet the server again with all of them."""
        self._traffic.greet_again.set()
        self._take_event(UplinkEvent.GREET_AGAIN)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that acks or connections bring about. UplinkError when the server refuses."""
        while not condition():
            if self.state.refused:
                raise UplinkError(self.state.message)
            self.progress.clear()
            await self.progress.wait()

    def say(self, control_message: AgentControlMessage) -> bool:
        """Queue a control message; False when it had to be dropped because 1,000 are waiting."""
        return self._traffic.say(control_message)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            self._traffic.greet_again.clear()
            connection = Connection(
                self._door, self._traffic, self._answers, self._clock, on_welcome=self._welcomed
            )
            try:
                await connection.run()
            except LostError as lost:
                event = UplinkEvent.REFUSED if lost.refused else UplinkEvent.LOST
                await asyncio.sleep(self._take_event(event, lost.reason))

    def _welcomed(self) -> None:
        if not self._traffic.greet_again.is_set():  # else it is greeted again at once
            self._take_event(UplinkEvent.WELCOMED)

    def _take_event(self, event: UplinkEvent, reason: str = "") -> float:
        """Says how things stand now; how long to wait before the next attempt."""
        step = self._reconnecting.take_event(event, self._clock.monotonic_seconds(), reason)
        if step is None:
            return 0.0
        self.counts.changed(step.state.phase, self._clock.wall_ns())
        self.progress.set()
        self._answers.on_state(step.state)
        return step.wait_seconds
