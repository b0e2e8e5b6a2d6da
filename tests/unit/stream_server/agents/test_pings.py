"""Ages by pings: an upper bound that lies between what is true and what a whole round takes, or unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.protocol.hop import Age
from stream_server.agents.pings import Heard, Pings

MS = 1_000_000
_spans = st.integers(0, 10_000)


@given(down_ms=_spans, held_ms=_spans, up_ms=_spans, aged_ms=_spans, clocks_ns=st.integers(0, 10**15))
def test_nothing_is_younger_than_it_says_nor_older_than_both_ways_make_it(
    down_ms: int, held_ms: int, up_ms: int, aged_ms: int, clocks_ns: int
) -> None:
    receiver, sender = Pings(), Heard()
    sent_ns = 5_000 * MS
    number = receiver.next(sent_ns)
    came_ns = sent_ns + down_ms * MS
    sender.came(number, came_ns + clocks_ns)  # its clock is another one
    leaves_ns = came_ns + held_ms * MS
    born_ns = leaves_ns - aged_ms * MS
    age = sender.age(born_ns + clocks_ns, leaves_ns + clocks_ns)
    arrives_ns = leaves_ns + up_ms * MS
    found = receiver.born_ns(age, arrives_ns)
    assert found is not None
    assert born_ns - (down_ms + 1) * MS <= found <= born_ns


@pytest.mark.parametrize("age", [None, Age(None, 1, 0), Age(0, 0, 0), Age(0, 2, 0), Age(0, 2**53, 0)])
def test_what_names_no_ping_that_was_sent_is_unknown(age: Age | None) -> None:
    pings = Pings()
    assert pings.born_ns(Age(0, 1, 0), 9 * MS) is None
    pings.next(1 * MS)
    assert pings.born_ns(age, 9 * MS) is None
    assert pings.born_ns(Age(3_000, 1, 2_000), 9 * MS) == 0


@given(down_ms=_spans, up_ms=_spans, aged_ms=_spans, kept_ms=_spans)
def test_what_is_sent_before_the_first_ping_came_is_as_old_as_the_welcome(
    down_ms: int, up_ms: int, aged_ms: int, kept_ms: int
) -> None:
    pings, welcomed_ns = Pings(), 20_000 * MS
    pings.welcomed_ns = welcomed_ns
    leaves_ns = welcomed_ns + (down_ms + kept_ms) * MS
    arrives_ns = leaves_ns + up_ms * MS
    found = pings.born_ns(Age(aged_ms * 1000, 0, 0), arrives_ns)
    assert found is not None
    assert found <= leaves_ns - aged_ms * MS
    assert found == welcomed_ns - aged_ms * MS
    assert pings.born_ns(Age(None, 0, 0), arrives_ns) is None


def test_a_ping_that_is_long_forgotten_is_unknown() -> None:
    pings = Pings()
    for number in range(2000):
        assert pings.next(number * MS) == number + 1
    assert pings.born_ns(Age(0, 900, 0), 3000 * MS) is None
    assert pings.born_ns(Age(0, 2000, 0), 3000 * MS) == 1999 * MS


def test_a_ping_that_comes_late_or_twice_makes_nothing_younger() -> None:
    heard = Heard()
    assert heard.age(0, 5 * MS) == Age(5_000, 0, 0)
    heard.came(2, 1 * MS)
    heard.came(1, 4 * MS)
    heard.came(2, 4 * MS)
    assert heard.age(0, 5 * MS) == Age(5_000, 2, 4_000)
    assert heard.age(1, 5 * MS).age_us == 5_000, "rounded up"
