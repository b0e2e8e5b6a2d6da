"""Promptness has a price that is bounded: at once while little was done, then on a beat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.host.pace import Beats, Pace


def test_a_few_turns_are_at_once_and_then_there_is_a_beat() -> None:
    pace = Pace(0.005, 4)
    waits = []
    for _ in range(6):
        waits.append(pace.due_in(1.0))
        pace.take(1.0)
    assert waits[:4] == [0.0] * 4
    assert waits[4:] == pytest.approx([0.005, 0.01])


def test_after_a_while_of_silence_they_are_at_once_again() -> None:
    pace = Pace(0.005, 4)
    for _ in range(9):
        pace.take(1.0)
    assert pace.due_in(1.0) > 0
    assert pace.due_in(1.1) == 0


@given(st.lists(st.floats(0, 0.1), min_size=2, max_size=200), st.integers(1, 20))
def test_no_more_turns_than_that_whatever_comes(pauses: list[float], at_once: int) -> None:
    pace, now, taken = Pace(0.005, at_once), 0.0, list[float]()
    for pause in pauses:
        now += pause
        now += pace.due_in(now)
        pace.take(now)
        taken.append(now)
    for i, first in enumerate(taken):
        for j in range(i, len(taken)):
            assert j - i + 1 <= at_once + (taken[j] - first) / 0.005 + 1e-6


def test_who_need_not_hurry_waits_for_the_common_beat() -> None:
    beats = Beats(Pace(0.005, 2))
    assert beats.pause_seconds(0.05, 1.01) == pytest.approx(0.04)
    assert beats.pause_seconds(0.05, 1.04) == pytest.approx(0.025), "half of it at least"
    assert beats.pause_seconds(0.0, 1.0) == 0.0


def test_who_must_hurry_never_waits_longer_than_the_driver_is_patient() -> None:
    beats = Beats(Pace(10.0, 1))
    beats.is_prompt = True
    beats.longest_seconds = 0.02
    assert beats.pause_seconds(0.05, 1.0) == 0.02


def test_in_haste_a_frame_alone_is_read_at_once_and_a_stream_in_one_go() -> None:
    beats = Beats(Pace(0.005, 2), Pace(0.002, 3))
    assert [beats.haste_seconds(1.0) for _ in range(4)] == pytest.approx([0.0, 0.0, 0.002, 0.002])
    assert beats.haste_seconds(1.1) == 0.0
