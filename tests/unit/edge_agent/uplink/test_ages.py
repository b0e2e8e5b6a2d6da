"""An age is an upper bound, or it is unknown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from can_stream.lanes.held import Held
from can_stream.protocol.hop import Age
from can_stream.protocol.packet_head import PacketNumber
from edge_agent.uplink.ages import SentAges

MOMENTS = st.integers(0, 10**15)


def held(born_ns: int) -> Held:
    return Held(PacketNumber("01" * 8, 1), 0, b"", 1, None, None, 0.0, born_ns=born_ns)


def ages() -> SentAges:
    made = SentAges()
    made.is_wanted = True
    return made


def test_a_server_that_wants_no_ages_gets_none() -> None:
    assert SentAges().of(held(1), 2) is None


def test_what_was_read_in_another_boot_or_by_another_clock_is_of_unknown_age() -> None:
    assert ages().of(held(0), 5_000) == Age(None, 0, 0)
    assert ages().of(held(6_000), 5_000) == Age(None, 0, 0)


def test_the_newest_ping_is_named_with_the_time_since_it_came() -> None:
    made = ages()
    made.take_ping(3, 1_000_000)
    made.take_ping(2, 2_000_000)
    assert made.of(held(1_000), 5_001_000) == Age(5_000, 3, 4_001)


@given(MOMENTS, MOMENTS, MOMENTS)
def test_no_bound_is_below_what_it_bounds(born_ns: int, came_ns: int, dwell_ns: int) -> None:
    now_ns = max(born_ns, came_ns) + dwell_ns
    made = ages()
    made.take_ping(1, came_ns)
    age = made.of(held(born_ns), now_ns)
    assert age is not None
    assert age.held_us * 1000 <= now_ns - came_ns, "to have held it longer would make the way shorter"
    assert (age.age_us is None) is (born_ns == 0)
    assert age.age_us is None or age.age_us * 1000 >= now_ns - born_ns
