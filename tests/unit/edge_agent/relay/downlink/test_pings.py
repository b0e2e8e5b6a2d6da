"""What the pings of a connection prove."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from can_stream.protocol.hop import Age
from edge_agent.relay.downlink.pings import MAX_KEPT, Pings

MS = 1_000_000


@given(
    sent=st.integers(0, 10**12),
    on_its_way=st.integers(0, 10**9),
    held=st.integers(0, 10**9),
    back=st.integers(0, 10**9),
    age=st.integers(0, 10**9),
)
def test_what_comes_is_never_younger_than_it_is(
    sent: int, on_its_way: int, held: int, back: int, age: int
) -> None:
    """Times in microseconds: the true moment of birth is not before what is said, nor off by a whole trip."""
    pings = Pings()
    number = pings.send(sent * 1000)
    leaves = sent + on_its_way + held
    comes = leaves + back
    born_ns = pings.born_ns(Age(age, number, held), comes * 1000)
    assert born_ns is not None
    truly = (leaves - age) * 1000
    assert truly - on_its_way * 1000 == born_ns <= truly


def test_what_cannot_be_known_is_not_known() -> None:
    pings = Pings()
    assert pings.born_ns(Age(0, 0, 0), 5 * MS) is None, "the sender knew no ping"
    number = pings.send(10 * MS)
    assert pings.born_ns(Age(1000, number, 0), 20 * MS) == 9 * MS
    assert pings.born_ns(Age(None, number, 0), 20 * MS) is None
    assert pings.born_ns(Age(1000, number + 1, 0), 20 * MS) is None, "never sent"
    assert pings.born_ns(Age(1000, number, 10_001), 20 * MS) is None, "held since before it was sent"


def test_a_lease_runs_from_when_the_ping_was_sent_and_no_answer_counts_twice() -> None:
    pings = Pings()
    first, second = pings.send(10 * MS), pings.send(20 * MS)
    assert pings.unanswered_since_ns() == 10 * MS
    assert pings.answered(second) == 20 * MS
    assert pings.unanswered_since_ns() is None
    assert [pings.answered(number) for number in (first, second, second + 1)] == [None] * 3


def test_an_old_ping_is_forgotten() -> None:
    pings = Pings()
    numbers = [pings.send(at * MS) for at in range(MAX_KEPT + 1)]
    now_ns = MAX_KEPT * MS
    assert pings.born_ns(Age(0, numbers[0], 0), now_ns) is None
    assert pings.born_ns(Age(0, numbers[1], 0), now_ns) == MS
    assert pings.answered(numbers[0]) is None
