"""Delays grow with full jitter, and a refusal waits long at once."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.host.backoff import DEVICE_POLICY, UPLINK_POLICY, Backoff, BackoffPolicy


def test_the_limit_doubles_from_half_a_second_to_a_minute() -> None:
    backoff = Backoff(UPLINK_POLICY, uniform=lambda: 1.0)
    assert [backoff.failed(0) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_the_jitter_is_full_so_that_a_fleet_spreads_over_the_whole_limit() -> None:
    assert Backoff(UPLINK_POLICY, uniform=lambda: 0.0).failed(0) == 0
    fleet = [Backoff(UPLINK_POLICY, random.random) for _ in range(400)]
    for one in fleet:
        for _ in range(6):
            one.failed(0)
    delays = sorted(one.failed(0) for one in fleet)
    assert delays[40] < 32 * 0.25
    assert delays[360] > 32 * 0.75


def test_failures_are_forgotten_after_a_stable_connection_only() -> None:
    backoff = Backoff(UPLINK_POLICY, uniform=lambda: 1.0)
    for _ in range(5):
        backoff.failed(0)
    backoff.connected(100)
    assert backoff.failed(129.9) == 16
    backoff.connected(200)
    assert backoff.failed(230) == 0.5


def test_a_refusal_goes_straight_to_the_longest_delay_still_with_jitter() -> None:
    assert Backoff(UPLINK_POLICY, uniform=lambda: 0.0).refused(0) == 150
    assert Backoff(UPLINK_POLICY, uniform=lambda: 1.0).refused(0) == 300


@pytest.mark.parametrize("policy", [UPLINK_POLICY, DEVICE_POLICY])
@given(steps=st.lists(st.sampled_from(["failed", "connected"]), max_size=200), share=st.floats(0, 1))
def test_no_delay_is_ever_beyond_the_cap(policy: BackoffPolicy, steps: list[str], share: float) -> None:
    backoff = Backoff(policy, uniform=lambda: share)
    for second, step in enumerate(steps):
        if step == "connected":
            backoff.connected(second)
        else:
            assert 0 <= backoff.failed(second) <= policy.cap_seconds
