"""Rates over one second, and a limit that holds in every second."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from stream_server.streams.rates import Budget, RateWindow

pauses = st.lists(st.integers(0, 1500), min_size=1, max_size=60)
"""Milliseconds from tick to tick."""


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 9)), max_size=40))
def test_a_window_counts_what_came_within_the_second_that_ends_now(steps: list[tuple[int, int]]) -> None:
    window, came, now = RateWindow(), list[tuple[float, int]](), 0.0
    for pause, count in steps:
        now += pause / 64  # exact in binary, so that the end of the second is a moment
        window.add_count(count, now)
        came.append((now, count))
        assert window.count(now) == sum(count for at, count in came if at > now - 1.0)
    assert window.count(now + 1.0) == 0


@given(st.integers(1, 1000), pauses)
def test_who_spends_all_that_is_earned_stays_within_the_limit_in_every_second(
    limit: int, ticks: list[int]
) -> None:
    budget, spent, now = Budget(), list[tuple[float, int]](), 1000.0
    for pause in ticks:
        now += pause / 1000
        earned = budget.earn(limit, now)
        assert 0 <= earned <= max(1, limit // 10), "a tenth at once"
        budget.spend(earned, now)
        spent.append((now, earned))
        assert sum(count for at, count in spent if at > now - 1.0) <= limit


def test_the_whole_limit_can_be_had_by_who_comes_often_enough() -> None:
    for limit in (1, 7, 200, 1000):
        budget, total = Budget(), 0
        for tick in range(200):
            earned = budget.earn(limit, tick * 0.05)
            budget.spend(earned, tick * 0.05)
            total += earned
        assert 9 * limit <= total <= 11 * limit, "in ten seconds"


def test_silence_saves_up_no_more_than_a_tenth_of_a_second() -> None:
    budget = Budget()
    assert budget.earn(200, 0.0) == 20
    assert budget.earn(200, 3600.0) == 20


def test_what_is_spent_beyond_what_was_earned_is_missing_afterwards() -> None:
    budget = Budget()
    budget.earn(100, 0.0)
    budget.spend(100, 0.0)
    assert budget.earn(100, 0.95) == 0
    assert budget.earn(100, 1.05) == 10


def test_without_a_limit_everything_may_be_shown() -> None:
    budget = Budget()
    budget.spend(10**6, 0.0)
    assert budget.earn(None, 0.0) == sys.maxsize
