"""Frames per second out of a count that is looked at now and then."""

from __future__ import annotations

import pytest

from edge_agent.status.frame_rate import SPAN_SECONDS, FrameRate


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = FrameRate(0.0)
    assert rate.per_second() == 0.0
    for second in range(0, 62, 2):
        rate.sample(second, 100 * second if second <= 30 else 3000 + 10 * (second - 30))
    assert rate.per_second() == pytest.approx(10.0)


def test_silence_is_measured_from_the_last_news() -> None:
    rate = FrameRate(0.0)
    rate.sample(5.0, 0)
    assert rate.silent_seconds(6.0) is None
    rate.sample(7.0, 3)
    rate.sample(7.0 + 2 * SPAN_SECONDS, 3)
    rate.sample(7.0 + 4 * SPAN_SECONDS, 3)
    assert rate.silent_seconds(8.0 + 4 * SPAN_SECONDS) == 1.0 + 4 * SPAN_SECONDS
    assert rate.per_second() == 0.0


def test_two_samples_of_one_moment_are_no_division_by_zero() -> None:
    rate = FrameRate(1.0)
    rate.sample(1.0, 50)
    assert rate.per_second() == 0.0
