"""The account of the chaos test finds whatever is wrong: what it lets through, nothing else would notice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from can_stream.protocol.packets import GapReason
from tests.helpers.chaos.account import Account, Began, Causes, account, in_gaps
from tests.helpers.chaos.recorded import RecordedGap, RecordedStart

FIRST, SECOND = "a" * 16, "b" * 16


def start(
    numbers: Sequence[int], first: int, *gaps: tuple[GapReason, int, int], in_holes: int = 0
) -> RecordedStart:
    """A start from frame `first` on that has these frames, and gaps from one frame to another."""
    places = np.array(numbers, np.int64)
    found = [RecordedGap(reason, np.arange(a - first, b + 1 - first), b + 1 - a) for reason, a, b in gaps]
    return RecordedStart(places, places - first, found, in_holes)


def judged(
    first: RecordedStart | None, second: RecordedStart | None = None, **causes: Sequence[int]
) -> Account:
    """Twenty frames, of which the second start has read those from the tenth on."""
    found = {name: one for name, one in ((FIRST, first), (SECOND, second)) if one is not None}
    caused = Causes()
    for kind in ("kill", "restore", "bound", "forgotten"):
        if kind in causes:
            caused.add(kind, np.array(causes[kind], np.int64))
    return account([Began(FIRST, 0), Began(SECOND, 10)], found, caused, 20)


WHOLE = start(range(10), 0), start(range(10, 20), 10)
RESTORED, ANNOUNCED, SPOOL = GapReason.RESTORED, GapReason.ANNOUNCED, GapReason.SPOOL


def test_what_is_whole_has_no_problem() -> None:
    found = judged(*WHOLE)
    assert not found.problems
    assert found.has_last
    assert (found.recorded, found.untold, found.in_gaps) == (20, 0, {})


def test_what_has_a_cause_has_no_problem() -> None:
    first = start([0, 1, 4, 5, 6], 0, (SPOOL, 2, 3))
    second = start([10, 11, 15, 16, 17, 18, 19], 10, (RESTORED, 12, 13), (ANNOUNCED, 14, 14))
    found = judged(first, second, kill=[7, 8, 9, 14], restore=[12, 13], bound=[2, 3])
    assert not found.problems, found.problems
    assert (found.recorded, found.untold) == (12, 3)
    assert found.in_gaps == {"agent_spool": 2, "server_restored": 2, "agent_announced": 1}


def test_a_gap_that_a_server_has_forgotten_may_be_told_as_announced() -> None:
    first = start(range(8), 0, (SPOOL, 8, 9))
    assert in_gaps([Began(FIRST, 0), Began(SECOND, 10)], {FIRST: first}).tolist() == [8, 9]
    told_again = start(range(8), 0, (ANNOUNCED, 8, 9))
    assert not judged(told_again, WHOLE[1], bound=[8, 9], forgotten=[8, 9]).problems


@pytest.mark.parametrize(
    ("problem", "first", "second", "causes"),
    [
        ("nowhere, and no cause", start(range(9), 0), WHOLE[1], {}),
        ("nowhere, and no cause", None, WHOLE[1], {"kill": [8, 9]}),
        ("have no such cause", start(range(8), 0, (SPOOL, 8, 9)), WHOLE[1], {"kill": [8, 9]}),
        ("have no such cause", start(range(8), 0, (ANNOUNCED, 8, 9)), WHOLE[1], {"bound": [8, 9]}),
        ("have no such cause", start(range(8), 0, (RESTORED, 8, 9)), WHOLE[1], {"bound": [7, 8]}),
        ("have no such cause", start(range(8), 0, (GapReason.WINDOW, 8, 9)), WHOLE[1], {"kill": [8, 9]}),
        ("out of order, or twice", start([0, 2, 1, *range(3, 10)], 0), WHOLE[1], {}),
        ("recorded twice", start(range(11), 0), WHOLE[1], {}),
        ("recorded and in a gap", start(range(10), 0, (SPOOL, 9, 9)), WHOLE[1], {"bound": [9]}),
        ("still waited for", start(range(9), 0, in_holes=1), WHOLE[1], {"kill": [9]}),
        ("positions are not all there", start([0, 1, 2, 4, 5], 0), WHOLE[1], {"kill": range(3, 10)}),
        ("more than was fed", WHOLE[0], start(range(10, 21), 10), {}),
    ],
)
def test_whatever_is_wrong_is_named(
    problem: str, first: RecordedStart | None, second: RecordedStart, causes: dict[str, Sequence[int]]
) -> None:
    assert any(problem in text for text in judged(first, second, **causes).problems)


def test_a_frame_that_was_lost_before_it_had_a_position_is_named() -> None:
    numbers = np.array([0, 1, 3, 4], np.int64)
    found = judged(RecordedStart(numbers, np.arange(4)), WHOLE[1], kill=range(10))
    assert any("has no position" in text for text in found.problems)


def test_a_gap_that_counts_others_than_its_places_is_named() -> None:
    first = start(range(8), 0, (ANNOUNCED, 8, 9))
    first.gaps[0].frames = 3
    assert any("others than their places" in text for text in judged(first, WHOLE[1], kill=[8, 9]).problems)


def test_a_start_of_nobody_is_named() -> None:
    found = account([Began(SECOND, 0)], {FIRST: WHOLE[0], SECOND: start(range(10), 0)}, Causes(), 10)
    assert any("nobody has started" in text for text in found.problems)


@pytest.mark.parametrize("kind", ["kill", "bound"])
def test_a_cause_that_costs_more_than_it_may_is_named(kind: str) -> None:
    causes = Causes()
    causes.add("kill" if kind == "kill" else "bound", np.arange(5, 10), 3)
    reason = ANNOUNCED if kind == "kill" else SPOOL
    first = start(range(5), 0, (reason, 5, 9))
    found = account([Began(FIRST, 0)], {FIRST: first}, causes, 10)
    assert any("have cost 5" in text or "has cost 5" in text for text in found.problems)
