"""How many lines of a kind pass, and that none is uncounted."""

from __future__ import annotations

import pytest

from can_stream.log_limit import MAX_KINDS, OTHERS, LogLimit, Pace

PACE = Pace(first=1, first_pause_seconds=10.0, longest_pause_seconds=3600.0, most_at_once=40)
STEADY = Pace(first=3, first_pause_seconds=60.0, longest_pause_seconds=60.0, most_at_once=1_000)


def test_lines_of_a_kind_come_ever_less_often_while_they_keep_coming() -> None:
    limit, passed = LogLimit(PACE), []
    for second in range(0, 7 * 86_400, 60):
        if limit.passes("uplink", second):
            passed.append(second)
        passed += [second for _ in limit.summaries(second)]
    assert len(passed) < 200
    assert passed[:3] == [0, 60, 120]
    assert passed[-1] - passed[-2] == pytest.approx(PACE.longest_pause_seconds, abs=61)


def test_after_a_long_peace_a_pause_is_short_again() -> None:
    limit = LogLimit(PACE)
    for second in range(1000):
        limit.passes("kind", second)
    late = 1000.0 + 3 * PACE.longest_pause_seconds
    assert limit.summaries(late)
    late += 3 * PACE.longest_pause_seconds
    assert limit.passes("kind", late)
    assert not limit.passes("kind", late + 1)
    assert limit.summaries(late + PACE.first_pause_seconds) == [("kind", 1)]


def test_many_kinds_at_once_are_bounded_and_none_is_uncounted() -> None:
    limit, sent = LogLimit(PACE), 0
    for number in range(3 * MAX_KINDS):
        sent += limit.passes(number, 0.0)
    assert sent == PACE.most_at_once
    summed = dict(limit.summaries(PACE.first_pause_seconds))
    assert summed[OTHERS] > 0
    assert sent + sum(summed.values()) == 3 * MAX_KINDS


def test_the_first_few_pass_and_then_one_sum_a_minute_until_it_is_quiet() -> None:
    limit, passed, told = LogLimit(STEADY), [], []
    for second in range(240):
        if limit.passes("kind", second):
            passed.append(second)
        told += [(second, count) for _, count in limit.summaries(second)]
    assert passed == [0, 1, 2]
    assert told == [(60, 58), (120, 60), (180, 60)]
    assert dict(limit.summaries(240.0)) == {"kind": 59}
    assert [limit.passes("kind", 400.0 + second) for second in range(4)] == [True, True, True, False]


def test_what_is_long_takes_the_place_of_more() -> None:
    limit = LogLimit(STEADY)
    assert [limit.passes("traceback", 0.0, weight=2) for _ in range(3)] == [True, True, False]
