"""How old frames were when their echoes came."""

from __future__ import annotations

from edge_agent.relay.account.latencies import Latencies


def test_half_and_the_last_of_a_hundred_since_the_last_time() -> None:
    one = Latencies()
    assert one.take_ms() is None
    for age in range(1, 101):
        one.add(age * 1_000_000)
    assert one.take_ms() == (51.0, 100.0)
    assert one.take_ms() is None


def test_of_very_many_the_newest_count() -> None:
    one = Latencies()
    for _ in range(9_000):
        one.add(1_000_000)
    for _ in range(8_000):
        one.add(5_000_000)
    assert one.take_ms() == (5.0, 5.0)
