"""When a console says that it samples: rarely, with rates that can be known, and when it stops."""

from __future__ import annotations

from collections.abc import Callable

from stream_server.streams.sampling_log import SamplingLog

TICK = 0.05
Told = list[tuple[float, dict[str, object]]]


def told(
    log: SamplingLog, seconds: float, rate: Callable[[float], int], shown: int = 200, first: float = 0.0
) -> Told:
    """What is said at which second of a bus with this rate, of which so much is shown."""
    out = []
    for step in range(round(seconds / TICK)):
        now = round(first + step * TICK, 2)
        details = log.note(rate(now) > shown, rate(now), min(rate(now), shown), now)
        if details is not None:
            out.append((now, details))
    return out


def test_a_busy_bus_is_told_once_when_its_rates_can_be_known() -> None:
    log = SamplingLog()
    assert told(log, 60, lambda _now: 3000) == [
        (0.9, {"active": True, "frames_in_per_second": 3000, "frames_out_per_second": 200, "factor": 15.0})
    ]
    assert log.watching


def test_a_quiet_bus_is_never_told_of_and_needs_no_ticks() -> None:
    log = SamplingLog()
    assert told(log, 60, lambda _now: 100) == []
    assert not log.watching


def test_the_end_is_told_two_seconds_after_the_last_merge_and_is_the_end() -> None:
    log = SamplingLog()
    said = told(log, 30, lambda now: 3000 if now < 10 else 100)
    assert [(at, details["active"]) for at, details in said] == [(0.9, True), (11.95, False)]
    assert said[1][1]["factor"] == 1.0
    assert not log.watching


def test_a_pause_of_less_than_two_seconds_is_no_end() -> None:
    said = told(SamplingLog(), 30, lambda now: 100 if 10 <= now < 11.8 else 3000)
    assert [details["active"] for _, details in said] == [True]


def test_a_change_by_more_than_two_is_told_when_it_lasts() -> None:
    said = told(SamplingLog(), 30, lambda now: 3000 if now < 10 else 9000)
    assert [details["factor"] for _, details in said] == [15.0, 45.0]
    assert 11.0 <= said[1][0] <= 12.0, "two looks, a second apart"
    assert len(told(SamplingLog(), 30, lambda now: 3000 if now < 10 else 5900)) == 1, "less than two"
    assert len(told(SamplingLog(), 30, lambda now: 9000 if 10 <= now < 10.9 else 3000)) == 1, "a spike"
    down = told(SamplingLog(), 30, lambda now: 9000 if now < 10 else 3000)
    assert [details["factor"] for _, details in down] == [45.0, 15.0]


def test_a_burst_that_is_over_before_its_rates_are_known_is_told_as_what_it_was_by_then() -> None:
    said = told(SamplingLog(), 30, lambda now: 3000 if now < 0.3 else 50)
    assert [details["active"] for _, details in said] == [True, False]
    assert [details["factor"] for _, details in said] == [1.0, 1.0]


def test_nothing_shown_at_all_is_no_division_by_zero() -> None:
    (one,) = told(SamplingLog(), 2, lambda _now: 500, shown=0)
    assert one[1]["factor"] == 500.0
