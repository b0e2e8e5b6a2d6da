"""Reconnecting without a socket: what is said, how long it waits, and what it forgets."""

from __future__ import annotations

import pytest

from edge_agent.host.backoff import UPLINK_POLICY, Backoff
from edge_agent.uplink.counts import UplinkCounts
from edge_agent.uplink.reconnecting import Reconnecting, Step
from edge_agent.uplink.state import UplinkEvent, UplinkPhase

URL = "https://stream.example.com"
REFUSAL = f"{URL} refuses this agent's token (HTTP 401); enrol it again with `edge-agent enroll`"
# The shortest way to each phase.
WAYS = {
    UplinkPhase.CONNECTING: [],
    UplinkPhase.GREETING: [UplinkEvent.GREET_AGAIN],
    UplinkPhase.STREAMING: [UplinkEvent.WELCOMED],
    UplinkPhase.WAITING: [UplinkEvent.LOST],
    UplinkPhase.REFUSED: [UplinkEvent.REFUSED],
}


class Driven:
    """Reconnecting, driven by name, with a share of the jitter that a test chooses."""

    def __init__(self, share: float = 1.0) -> None:
        self.reconnecting = Reconnecting(URL, Backoff(UPLINK_POLICY, uniform=lambda: share))
        self.counts = UplinkCounts()

    @property
    def phase(self) -> UplinkPhase:
        return self.reconnecting.state.phase

    @property
    def message(self) -> str:
        return self.reconnecting.state.message

    def take(self, event: UplinkEvent, now_seconds: float = 0.0, reason: str = "") -> Step | None:
        step = self.reconnecting.take_event(event, now_seconds, reason)
        if step is not None:
            self.counts.changed(step.state.phase, int(now_seconds * 1e9))
        return step

    def welcomed(self, now_seconds: float = 0.0) -> None:
        assert self.take(UplinkEvent.WELCOMED, now_seconds) is not None

    def lost(self, now_seconds: float = 0.0, reason: str = "the connection is lost (gone)") -> float:
        step = self.take(UplinkEvent.LOST, now_seconds, reason)
        assert step is not None
        return step.wait_seconds

    def refused(self, now_seconds: float = 0.0, reason: str = REFUSAL) -> float:
        step = self.take(UplinkEvent.REFUSED, now_seconds, reason)
        assert step is not None
        return step.wait_seconds


def at(phase: UplinkPhase) -> Driven:
    """On the shortest way there."""
    driven = Driven()
    for event in WAYS[phase]:
        driven.take(event, reason=REFUSAL)
    assert driven.phase is phase
    return driven


# -- what is said


def test_at_first_it_says_where_it_connects_to() -> None:
    driven = Driven()
    assert (driven.phase, driven.message) == (UplinkPhase.CONNECTING, f"connecting to {URL}")


@pytest.mark.parametrize("phase", [phase for phase in UplinkPhase if phase is not UplinkPhase.STREAMING])
def test_a_welcome_says_where_it_streams_to_whatever_was_before(phase: UplinkPhase) -> None:
    driven = at(phase)
    driven.welcomed()
    assert (driven.phase, driven.message) == (UplinkPhase.STREAMING, f"streaming to {URL}")


@pytest.mark.parametrize("phase", UplinkPhase)
def test_a_loss_says_why_and_when_it_goes_on(phase: UplinkPhase) -> None:
    driven = at(phase)
    wait_seconds = driven.lost(reason="the connection is lost (too late)")
    assert driven.phase is UplinkPhase.WAITING
    assert driven.message == f"the connection is lost (too late); next attempt after {wait_seconds:.1f} s"


@pytest.mark.parametrize("phase", UplinkPhase)
def test_a_refusal_says_the_remedy_and_when_it_is_tried_again(phase: UplinkPhase) -> None:
    driven = at(phase)
    driven.refused()
    assert driven.phase is UplinkPhase.REFUSED
    assert driven.message == f"{REFUSAL}; next attempt after 300.0 s"


@pytest.mark.parametrize("phase", [UplinkPhase.CONNECTING, UplinkPhase.GREETING, UplinkPhase.STREAMING])
def test_greeting_again_is_said_and_does_not_wait(phase: UplinkPhase) -> None:
    driven = at(phase)
    step = driven.take(UplinkEvent.GREET_AGAIN)
    assert step is not None
    assert step.wait_seconds == 0
    assert (driven.phase, driven.message) == (UplinkPhase.GREETING, "greeting the server again")


@pytest.mark.parametrize("phase", [UplinkPhase.WAITING, UplinkPhase.REFUSED])
def test_what_went_wrong_stays_said_where_the_next_greeting_will_say_all_anyway(phase: UplinkPhase) -> None:
    driven = at(phase)
    before = driven.reconnecting.state
    assert driven.take(UplinkEvent.GREET_AGAIN, 10) is None
    assert driven.reconnecting.state is before


def test_a_second_welcome_changes_nothing() -> None:
    driven = at(UplinkPhase.STREAMING)
    before = driven.reconnecting.state
    assert driven.take(UplinkEvent.WELCOMED, 29) is None
    assert driven.reconnecting.state is before


def test_a_second_welcome_does_not_begin_the_time_anew_after_which_failures_are_forgotten() -> None:
    driven = Driven()
    for _ in range(5):
        driven.lost()
    driven.welcomed(100)
    driven.take(UplinkEvent.WELCOMED, 129)
    assert driven.lost(131) == 0.5


def test_the_last_reason_is_the_one_that_is_said() -> None:
    driven = at(UplinkPhase.REFUSED)
    driven.lost(reason=f"{URL} cannot be reached (Connection refused)")
    assert driven.message.startswith(f"{URL} cannot be reached (Connection refused); next attempt after ")
    assert not driven.reconnecting.state.refused


# -- how long it waits


def test_the_wait_doubles_from_half_a_second_to_a_minute() -> None:
    driven = Driven()
    assert [driven.lost() for _ in range(10)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize(
    ("share", "waits_seconds"), [(0.0, [0, 0, 0, 0]), (0.25, [0.125, 0.25, 0.5, 1]), (1.0, [0.5, 1, 2, 4])]
)
def test_the_jitter_is_full(share: float, waits_seconds: list[float]) -> None:
    driven = Driven(share)
    assert [driven.lost() for _ in waits_seconds] == waits_seconds


def test_it_may_fail_for_years() -> None:
    driven = Driven()
    for _ in range(2_000):
        last = driven.lost()
    assert last == 60


@pytest.mark.parametrize(("share", "wait_seconds"), [(0.0, 150), (0.5, 225), (1.0, 300)])
def test_a_refusal_waits_long_at_once_still_with_jitter(share: float, wait_seconds: float) -> None:
    assert Driven(share).refused() == wait_seconds


def test_each_refusal_waits_as_long() -> None:
    driven = Driven()
    assert [driven.refused() for _ in range(5)] == [300] * 5


def test_what_fails_after_a_refusal_is_tried_again_soon_but_counts_it() -> None:
    driven = Driven()
    driven.refused()
    assert driven.lost() == 1


def test_a_success_that_lasts_forgets_the_refusal() -> None:
    driven = Driven()
    for _ in range(4):
        driven.refused()
    driven.welcomed(1000)
    assert driven.lost(1031) == 0.5
    assert driven.refused(1031) == 300


# -- what it forgets


@pytest.mark.parametrize(("up_seconds", "wait_seconds"), [(0, 16), (29.9, 16), (30, 0.5), (86_400, 0.5)])
def test_failures_are_forgotten_after_30_seconds_and_not_before(
    up_seconds: float, wait_seconds: float
) -> None:
    driven = Driven()
    for _ in range(5):
        driven.lost()
    driven.welcomed(100)
    assert driven.lost(100 + up_seconds) == wait_seconds


def test_a_server_that_drops_everybody_at_once_is_not_hammered() -> None:
    driven, now_seconds, waits = Driven(), 0.0, []
    for _ in range(9):
        driven.welcomed(now_seconds)
        waits.append(driven.lost(now_seconds + 1))
        now_seconds += 1 + waits[-1]
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_time_that_passes_without_a_connection_forgets_nothing() -> None:
    driven = Driven()
    driven.welcomed(0)
    driven.lost(100)
    assert [driven.lost(second) for second in (1_000, 10_000, 100_000)] == [1, 2, 4]


# -- greeting again


def test_greeting_again_does_not_count_as_a_failure() -> None:
    driven = Driven()
    driven.welcomed(0)
    for second in range(20):
        driven.take(UplinkEvent.GREET_AGAIN, second)
        driven.welcomed(second)
    assert driven.lost(20) == 0.5


def test_greeting_again_forgives_no_failure() -> None:
    driven = Driven()
    for _ in range(5):
        driven.lost()
    driven.welcomed(100)
    driven.take(UplinkEvent.GREET_AGAIN, 101)
    assert driven.lost(102) == 16


def test_what_was_stable_stays_so_where_greeting_again_fails() -> None:
    driven = Driven()
    for _ in range(5):
        driven.lost()
    driven.welcomed(100)
    driven.take(UplinkEvent.GREET_AGAIN, 200)
    assert driven.lost(201) == 0.5


# -- what is counted


def test_connections_are_counted_once_each() -> None:
    driven = Driven()
    driven.welcomed(1)
    driven.take(UplinkEvent.WELCOMED, 2)
    driven.take(UplinkEvent.GREET_AGAIN, 3)
    driven.welcomed(4)
    driven.lost(5)
    driven.welcomed(6)
    assert driven.counts.connections == 3
    assert driven.counts.refusals == 0


def test_every_refusal_is_counted_and_other_failures_are_not() -> None:
    driven = Driven()
    driven.refused()
    driven.refused()
    driven.lost()
    driven.take(UplinkEvent.GREET_AGAIN)
    driven.refused()
    assert driven.counts.refusals == 3
    assert driven.counts.connections == 0


@pytest.mark.parametrize("event", [UplinkEvent.LOST, UplinkEvent.REFUSED, UplinkEvent.GREET_AGAIN])
def test_it_is_said_since_when_there_is_a_connection(event: UplinkEvent) -> None:
    driven, since_ns = Driven(), list[int | None]()
    for happens, now_seconds in ((UplinkEvent.WELCOMED, 5), (event, 6), (UplinkEvent.WELCOMED, 7)):
        driven.take(happens, now_seconds, REFUSAL)
        since_ns.append(driven.counts.connected_since_ns)
    assert since_ns == [5 * 10**9, None, 7 * 10**9]
