"""What each event makes of the uplink: how it stands then, what is said of it, how long to wait."""

from __future__ import annotations

from msgspec import Struct

from edge_agent.host.backoff import Backoff
from edge_agent.uplink.state import UplinkEvent, UplinkPhase, UplinkState, next_phase


class Step(Struct, frozen=True):
    """What follows from an event: how the uplink stands, and how long until the next attempt."""

    state: UplinkState
    wait_seconds: float


class Reconnecting:
    """Keeps how the uplink to `url` stands, and how often it has failed: nothing but events change it."""

    def __init__(self, url: str, backoff: Backoff) -> None:
        self.state = UplinkState(UplinkPhase.CONNECTING, f"connecting to {url}")
        self._url = url
        self._backoff = backoff

    def take_event(
        self, event: UplinkEvent, now_seconds: float, reason: str = "", fault: str = ""
    ) -> Step | None:
        """What follows from it; None where it changes nothing. `reason`: why it is lost or refused."""
        phase = next_phase(self.state.phase, event)
        if phase is None:
            return None
        wait_seconds = self._wait_seconds(event, now_seconds)
        self.state = UplinkState(phase, self._message(phase, reason, wait_seconds), fault, reason)
        return Step(self.state, wait_seconds)

    def _wait_seconds(self, event: UplinkEvent, now_seconds: float) -> float:
        if event is UplinkEvent.LOST:
            return self._backoff.failed(now_seconds)
        if event is UplinkEvent.REFUSED:
            return self._backoff.refused(now_seconds)
        if event is UplinkEvent.WELCOMED:
            self._backoff.connected(now_seconds)
        return 0.0

    def _message(self, phase: UplinkPhase, reason: str, wait_seconds: float) -> str:
        if phase is UplinkPhase.STREAMING:
            return f"streaming to {self._url}"
        if phase is UplinkPhase.GREETING:
            return "greeting the server again"
        return f"{reason}; next attempt after {wait_seconds:.1f} s"
