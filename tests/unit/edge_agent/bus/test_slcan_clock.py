"""The numbers behind frames: what they count is found from them, in examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from edge_agent.bus.slcan_clock import StampReader

BEGIN_NS = 1_766_417_462_000_000_000


def heard(stamps: StampReader, digits: int, ms: Iterable[int], count: Callable[[int], int]) -> list[int]:
    """Errors in ns of frames that are read one by one, `ms` after the beginning; `count` is the adapter's."""
    errors = []
    for at_ms in ms:
        now_ns = BEGIN_NS + at_ms * 1_000_000
        numbers = np.array([count(at_ms)], np.int64)
        errors += (stamps.times(np.array([digits], np.int64), numbers, now_ns) - now_ns).tolist()
    return errors


@pytest.mark.parametrize(
    ("digits", "count", "text"),
    [
        (4, lambda ms: ms % 60_000, "four digits, ms, from 0 again after 59999"),
        (4, lambda ms: ms % 65_536, "four digits, ms, from 0 again after 65535"),
        (8, lambda ms: ms * 1_000 % 3_600_000_000, "eight digits, us, from 0 again after 3599999999"),
        (
            8,
            lambda ms: (ms + 4_000_000) * 1_000 % (1 << 32),
            "eight digits, us, from 0 again after 4294967295",
        ),
        (8, lambda ms: ms, "eight digits, ms, from 0 again after 4294967295"),
    ],
)
@pytest.mark.parametrize("step_ms", [10, 900, 45_000, 100_000])
def test_what_is_counted_is_found(digits: int, count: Callable[[int], int], text: str, step_ms: int) -> None:
    stamps = StampReader()
    errors = heard(stamps, digits, range(5_000, 4_500_000 if step_ms > 100 else 200_000, step_ms), count)
    assert max(map(abs, errors)) <= 1_000_000
    assert stamps.is_adapters
    if step_ms > 100:
        assert stamps.text == text


@pytest.mark.parametrize(
    "count", [lambda _: 0, lambda ms: ms // 50, lambda ms: ms // 10, lambda ms: ms * 7 % 60_000]
)
def test_a_number_that_is_no_time_is_not_taken_for_one(count: Callable[[int], int]) -> None:
    stamps = StampReader()
    errors = heard(stamps, 4, range(0, 30_000, 50), count)
    assert errors[40:] == [0] * len(errors[40:])
    assert stamps.is_adapters is False
    assert stamps.text == "four digits that count no time"


def test_a_clock_that_starts_again_when_no_clock_does_is_not_trusted_for_long() -> None:
    stamps = StampReader()
    heard(stamps, 4, range(0, 60_000, 20), lambda ms: 60_000 + ms % 5_000)
    assert heard(stamps, 4, range(60_000, 90_000, 20), lambda ms: 60_000 + ms % 5_000) == [0] * 1_500


def test_a_clock_that_starts_to_run_is_trusted_again() -> None:
    stamps = StampReader()
    heard(stamps, 4, range(0, 5_000, 20), lambda _: 0)
    assert stamps.is_adapters is False
    heard(stamps, 4, range(5_000, 15_000, 20), lambda ms: ms)
    assert stamps.is_adapters


@pytest.mark.parametrize("ran_ms", [800, 2_000, 9_900, 20_000, 45_000, 59_900])
def test_an_adapter_that_restarts_and_a_hiccup_are_no_reason_to_distrust_it(ran_ms: int) -> None:
    stamps, silence_ms = StampReader(), 3_000
    errors = heard(stamps, 4, range(0, ran_ms, 20), lambda ms: ms)
    errors += heard(stamps, 4, range(ran_ms, 80_000, 20), lambda ms: (ms - ran_ms) % 60_000)
    errors += heard(stamps, 4, range(80_000 + silence_ms, 90_000, 20), lambda ms: (ms - ran_ms) % 60_000)
    assert stamps.is_adapters
    assert set(errors) == {0}


def test_an_adapter_may_restart_between_two_frames_that_are_read_at_once() -> None:
    stamps, digits = StampReader(), np.full(4, 4, np.int64)
    stamps.times(digits, np.array([8_000, 8_010, 8_020, 8_030]), BEGIN_NS)
    times = stamps.times(digits, np.array([8_050, 8_060, 5, 15]), BEGIN_NS + 40_000_000)
    assert (times - BEGIN_NS).tolist() == pytest.approx([20e6, 30e6, 30e6, 40e6], abs=1e5)


@pytest.mark.parametrize("drift", [0.995, 0.999, 0.9999, 1.0001, 1.001, 1.005])
def test_a_clock_that_is_too_slow_or_too_fast_is_followed(drift: float) -> None:
    stamps = StampReader()
    errors = heard(stamps, 4, range(0, 150_000, 20), lambda ms: int(ms * drift) % 60_000)
    assert stamps.is_adapters
    assert max(map(abs, errors)) < 30_000_000
    assert max(map(abs, errors[2_500:])) <= 2_000_000
