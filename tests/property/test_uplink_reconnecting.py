"""Whatever happens to the uplink in whatever order: it stands in one phase, and that phase is true."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_agent.host.backoff import UPLINK_POLICY, Backoff
from edge_agent.status.watchdog import uplink_patience_seconds
from edge_agent.uplink.counts import UplinkCounts
from edge_agent.uplink.reconnecting import Reconnecting, Step
from edge_agent.uplink.state import UplinkEvent, UplinkPhase, next_phase

URL = "https://stream.example.com"
times = st.floats(0, 600)
shares = st.floats(0, 1)


class Uplinks(RuleBasedStateMachine):
    """One uplink; beside it, in the plainest way, what is known of it."""

    def __init__(self) -> None:
        super().__init__()
        self.share = 0.0
        self.now_seconds = 0.0
        self.reconnecting = Reconnecting(URL, Backoff(UPLINK_POLICY, lambda: self.share))
        self.counts = UplinkCounts()
        self.welcomes = self.refusals = self.failures = 0
        self.up_since_seconds: float | None = None
        self.said_at_seconds = self.tries_at_seconds = 0.0

    @rule(seconds=times)
    def time_passes(self, seconds: float) -> None:
        self.now_seconds += seconds

    @precondition(lambda self: self.reconnecting.state.phase is not UplinkPhase.STREAMING)
    @rule()
    def welcomed(self) -> None:
        step = self._take(UplinkEvent.WELCOMED)
        assert step is not None
        assert step.wait_seconds == 0
        self.welcomes += 1
        self.up_since_seconds = self.tries_at_seconds = self.now_seconds
        assert self.reconnecting.state.connected

    @precondition(lambda self: self.reconnecting.state.phase is UplinkPhase.STREAMING)
    @rule()
    def welcomed_twice(self) -> None:
        before = self.reconnecting.state
        assert self._take(UplinkEvent.WELCOMED) is None
        assert self.reconnecting.state is before

    @rule(share=shares)
    def lost(self, share: float) -> None:
        self._forget_if_stable()
        limit_seconds = min(UPLINK_POLICY.cap_seconds, UPLINK_POLICY.base_seconds * 2.0**self.failures)
        step = self._fails(UplinkEvent.LOST, share)
        assert step.wait_seconds == share * limit_seconds
        assert not step.state.refused

    @rule(share=shares)
    def refused(self, share: float) -> None:
        self._forget_if_stable()
        step = self._fails(UplinkEvent.REFUSED, share)
        longest_seconds = UPLINK_POLICY.refused_seconds
        assert longest_seconds / 2 <= step.wait_seconds <= longest_seconds
        assert step.state.refused
        self.refusals += 1

    @rule()
    def greet_again(self) -> None:
        before = self.reconnecting.state
        step = self._take(UplinkEvent.GREET_AGAIN)
        assert step is None or step.wait_seconds == 0
        assert not self.reconnecting.state.connected
        assert (step is None) == (self.reconnecting.state is before)

    @invariant()
    def the_message_fits_the_phase(self) -> None:
        state = self.reconnecting.state
        beginning, ending = {
            UplinkPhase.CONNECTING: (f"connecting to {URL}", ""),
            UplinkPhase.GREETING: ("greeting the server again", ""),
            UplinkPhase.STREAMING: (f"streaming to {URL}", ""),
            UplinkPhase.WAITING: ("lost; next attempt after ", " s"),
            UplinkPhase.REFUSED: ("refused; next attempt after ", " s"),
        }[state.phase]
        assert state.message.startswith(beginning)
        assert state.message.endswith(ending)

    @invariant()
    def the_counts_follow(self) -> None:
        assert (self.counts.connections, self.counts.refusals) == (self.welcomes, self.refusals)
        assert (self.counts.connected_since_ns is not None) == self.reconnecting.state.connected

    @invariant()
    def the_watchdog_has_the_patience_that_the_next_attempt_needs(self) -> None:
        patience_seconds = uplink_patience_seconds(self.reconnecting.state)
        assert patience_seconds is None or self.tries_at_seconds <= self.said_at_seconds + patience_seconds

    def _fails(self, event: UplinkEvent, share: float) -> Step:
        self.share = share
        step = self._take(event)
        assert step is not None
        assert step.state.failed
        assert f"after {step.wait_seconds:.1f} s" in step.state.message
        self.failures += 1
        self.up_since_seconds = None
        self.tries_at_seconds = self.now_seconds + step.wait_seconds
        return step

    def _take(self, event: UplinkEvent) -> Step | None:
        then = next_phase(self.reconnecting.state.phase, event)
        step = self.reconnecting.take_event(event, self.now_seconds, reason=event.value)
        if step is not None:
            assert step.state is self.reconnecting.state
            assert step.state.phase is then
            self.said_at_seconds = self.now_seconds
            self.counts.changed(step.state.phase, int(self.now_seconds * 1e9))
        return step

    def _forget_if_stable(self) -> None:
        since = self.up_since_seconds
        if since is not None and self.now_seconds - since >= UPLINK_POLICY.stable_seconds:
            self.failures = 0


TestUplinks = Uplinks.TestCase
