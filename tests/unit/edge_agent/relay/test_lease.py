"""For how long a bus is written to without hearing from the server."""

from __future__ import annotations

from edge_agent.relay.lease import Lease

LEASE_NS = 2_000


def lease() -> Lease:
    made = Lease(LEASE_NS)
    made.begin("one")
    return made


def test_it_runs_from_when_the_ping_was_sent_not_from_when_the_answer_came() -> None:
    one = lease()
    assert not one.holds(0)
    one.answered(10_000, ["other", "one"])
    assert [one.holds(at) for at in (9_999, 10_000, 12_000, 12_001)] == [False, True, True, False]
    one.answered(11_000, ["one"])
    assert one.holds(13_000)


def test_an_answer_that_does_not_name_it_ends_it_at_once_and_an_older_one_says_nothing() -> None:
    one = lease()
    one.answered(10_000, ["one"])
    one.answered(10_500, [])
    assert not one.holds(10_600)
    one.answered(10_400, ["one"])
    assert not one.holds(10_600)
    one.answered(10_600, ["one"])
    assert one.holds(10_700)


def test_what_was_granted_to_another_activation_does_not_count() -> None:
    one = lease()
    one.answered(10_000, ["one", "two"])
    one.begin("one")  # the same again, after a new connection
    assert one.holds(10_100)
    one.begin("two")
    assert not one.holds(10_100)
    one.begin(None)
    one.answered(10_200, ["two"])
    assert not one.holds(10_200)
