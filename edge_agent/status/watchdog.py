"""What systemd is told of the running agent, and when its watchdog is fed: only while there is progress."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from can_stream.service_manager import ServiceManager
from edge_agent.bus.reader import SourceReader
from edge_agent.host.backoff import UPLINK_POLICY
from edge_agent.host.clock import Clock
from edge_agent.state import State, StatusCode
from edge_agent.uplink.connection import ANSWER_TIMEOUT_SECONDS
from edge_agent.uplink.lost import OPEN_TIMEOUT_SECONDS
from edge_agent.uplink.state import UplinkPhase, UplinkState

STATUS_SECONDS: Final = 5.0
_FEEDS_PER_TIMEOUT: Final = 4
# Two connections are opened and answered, each in its own time, and closed again; and some slack.
CONNECTING_SECONDS: Final = 2 * (OPEN_TIMEOUT_SECONDS + ANSWER_TIMEOUT_SECONDS) + 30.0
_logger: Final = logging.getLogger(__name__)


def uplink_patience_seconds(state: UplinkState) -> float | None:
    """How long an uplink may stay in `state`; None for ever."""
    if state.connected:
        return None
    delay = UPLINK_POLICY.refused_seconds if state.refused else UPLINK_POLICY.cap_seconds
    return delay + CONNECTING_SECONDS


def status_line(uplink: UplinkState, buses: Sequence[State]) -> str:
    """How uplink and dongles stand, for `systemctl status`."""
    good = sum(bus.code is StatusCode.OK for bus in buses)
    return f"dongles OK: {good}/{len(buses)}; uplink: {uplink.message}"


class Watchdog:
    """Feeds the watchdog as long as every driver returns in its time and the uplink gets on.

    `buses` says how they stand, which may be worse than what a reader knows of its driver.
    """

    def __init__(
        self,
        manager: ServiceManager,
        readers: Sequence[SourceReader],
        clock: Clock,
        buses: Callable[[], Sequence[State]] | None = None,
    ) -> None:
        self._manager = manager
        self._readers = readers
        self._buses = buses or (lambda: [reader.state for reader in readers])
        self._clock = clock
        self._standstill: str | None = None
        self._uplink = UplinkState(UplinkPhase.CONNECTING, "starting")
        self._uplink_since_seconds = clock.monotonic_seconds()

    def uplink_changed(self, state: UplinkState) -> None:
        """The uplink has come into `state`, maybe again."""
        self._uplink = state
        self._uplink_since_seconds = self._clock.monotonic_seconds()

    def standstill(self) -> str | None:
        """Why the agent does not get on; None while it does, also on a silent bus: its driver returns."""
        for reader in self._readers:
            if (hang := reader.driver.hang()) is not None:
                return hang.message
        patience = uplink_patience_seconds(self._uplink)
        unchanged = self._clock.monotonic_seconds() - self._uplink_since_seconds
        if patience is not None and unchanged > patience:
            return f"the uplink has not tried again for {unchanged:.0f} s after: {self._uplink.message}"
        return None

    def look(self) -> None:
        """Feeds the watchdog, or says once why not."""
        self._manager.status(status_line(self._uplink, self._buses()))
        standstill = self.standstill()
        if standstill is None:
            self._manager.alive()
        if standstill is not None and self._standstill is None:
            _logger.error("the watchdog is not fed, systemd will restart the agent: %s", standstill)
        elif standstill is None and self._standstill is not None:
            _logger.warning("the watchdog is fed again: the agent gets on")
        self._standstill = standstill

    async def keep_told(self) -> None:
        """Looks again and again, in time for the watchdog; returns where nobody is told."""
        timeout_seconds = self._manager.watchdog_seconds
        period_seconds = timeout_seconds / _FEEDS_PER_TIMEOUT if timeout_seconds else STATUS_SECONDS
        while self._manager.listens:
            self.look()
            await asyncio.sleep(period_seconds)
