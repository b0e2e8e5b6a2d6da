"""The table of the uplink's phases, pair by pair, and what each phase tells who asks."""

from __future__ import annotations

from typing import Final

import pytest

from edge_agent.uplink.state import TRANSITIONS, UplinkEvent, UplinkPhase, UplinkState, next_phase

_WELCOMED, _LOST, _REFUSED, _GREET_AGAIN = UplinkEvent
# Where each event leads; None where it changes nothing.
LEADS_TO: Final[dict[UplinkPhase, dict[UplinkEvent, UplinkPhase | None]]] = {
    UplinkPhase.CONNECTING: {
        _WELCOMED: UplinkPhase.STREAMING,
        _LOST: UplinkPhase.WAITING,
        _REFUSED: UplinkPhase.REFUSED,
        _GREET_AGAIN: UplinkPhase.GREETING,
    },
    UplinkPhase.GREETING: {
        _WELCOMED: UplinkPhase.STREAMING,
        _LOST: UplinkPhase.WAITING,
        _REFUSED: UplinkPhase.REFUSED,
        _GREET_AGAIN: UplinkPhase.GREETING,
    },
    UplinkPhase.STREAMING: {
        _WELCOMED: None,
        _LOST: UplinkPhase.WAITING,
        _REFUSED: UplinkPhase.REFUSED,
        _GREET_AGAIN: UplinkPhase.GREETING,
    },
    UplinkPhase.WAITING: {
        _WELCOMED: UplinkPhase.STREAMING,
        _LOST: UplinkPhase.WAITING,
        _REFUSED: UplinkPhase.REFUSED,
        _GREET_AGAIN: None,
    },
    UplinkPhase.REFUSED: {
        _WELCOMED: UplinkPhase.STREAMING,
        _LOST: UplinkPhase.WAITING,
        _REFUSED: UplinkPhase.REFUSED,
        _GREET_AGAIN: None,
    },
}


@pytest.mark.parametrize("event", UplinkEvent)
@pytest.mark.parametrize("phase", UplinkPhase)
def test_each_event_leads_where_it_should_from_each_phase(phase: UplinkPhase, event: UplinkEvent) -> None:
    assert next_phase(phase, event) is LEADS_TO[phase][event]


def test_no_pair_leads_to_two_phases() -> None:
    assert len({(phase, event) for phase, event, _ in TRANSITIONS}) == len(TRANSITIONS)


@pytest.mark.parametrize("begun", UplinkPhase)
def test_every_phase_can_be_left_and_all_but_the_first_be_reached_from_it(begun: UplinkPhase) -> None:
    reached, last = {then for phase, _, then in TRANSITIONS if phase is begun}, set[UplinkPhase]()
    while reached != last:
        last = reached
        reached = last | {then for phase, _, then in TRANSITIONS if phase in last}
    assert reached == set(UplinkPhase) - {UplinkPhase.CONNECTING}


@pytest.mark.parametrize(
    ("phase", "connected", "refused", "failed"),
    [
        (UplinkPhase.CONNECTING, False, False, False),
        (UplinkPhase.GREETING, False, False, False),
        (UplinkPhase.STREAMING, True, False, False),
        (UplinkPhase.WAITING, False, False, True),
        (UplinkPhase.REFUSED, False, True, True),
    ],
)
def test_who_asks_is_told_whether_it_works(
    phase: UplinkPhase, connected: bool, refused: bool, failed: bool
) -> None:
    state = UplinkState(phase, "why")
    assert (state.connected, state.refused, state.failed) == (connected, refused, failed)
