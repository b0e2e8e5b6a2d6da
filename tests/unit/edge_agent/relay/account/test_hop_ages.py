"""How long relayed frames were on each of their hops."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.relay.account.hop_ages import BOUNDS_MS, Arrival, Histogram, HopAges

MS = 1_000_000
_NS = st.integers(0, 20_000 * MS)


@given(before=_NS, transit=_NS, queue=_NS, driver=_NS, frames=st.integers(1, 16))
def test_the_hops_of_a_frame_add_up_to_its_age(
    before: int, transit: int, queue: int, driver: int, frames: int
) -> None:
    ages = HopAges()
    came = 1_000_000 * MS
    opened, born = came + queue, came - transit - before
    ages.confirmed(frames, born, Arrival(came, transit), opened, opened + driver)
    told = {hop: one.sum_ms * MS / frames for hop, one in ages.hops.items()}
    for hop, truly in (("before", before), ("downlink", transit), ("queue", queue), ("driver", driver)):
        assert abs(told[hop] - truly) < 1000
    assert abs(told.pop("echo") - sum(told.values())) < 1000
    assert {sum(one.counts) for one in ages.hops.values()} == {frames}


def test_a_frame_that_took_as_long_as_a_bound_is_in_its_bucket_and_a_longer_one_in_the_next() -> None:
    one = Histogram()
    for bound_ms in BOUNDS_MS:
        one.add(bound_ms * MS, 1)
        one.add(bound_ms * MS + 1, 1)
    assert one.counts == [1, *[2] * (len(BOUNDS_MS) - 1), 1]


def test_of_what_came_without_an_arrival_only_the_rest_is_told() -> None:
    ages = HopAges()
    ages.confirmed(2, 1 * MS, None, 5 * MS, 7 * MS)
    assert {hop: one.sum_ms for hop, one in ages.hops.items() if sum(one.counts)} == {
        "driver": 4.0,
        "echo": 12.0,
    }
