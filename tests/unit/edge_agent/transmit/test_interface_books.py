"""Books of an interface that may have been given frames before: it is never empty while one is inside."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.transmit.interface_books import InterfaceBooks, Standing

STEPS = st.lists(st.sampled_from(["put", "out", "look", "again"]), max_size=60)


@given(STEPS, st.integers(0, 3))
def test_what_is_said_to_be_empty_is_empty(steps: list[str], stuck: int) -> None:
    """`inside`: whose frames are in the controller, in order, by the socket that has put them there."""
    inside, gone, sockets = [0] * stuck, 0, 1
    books, seconds = InterfaceBooks(), 0.0
    for step in steps:
        seconds += 1.0
        standing = Standing(7, gone, (0, 0))
        if step == "put":
            inside.append(sockets)
            books.taken += 1
        elif step == "out" and inside:
            gone += 1
            books.echoes += inside.pop(0) == sockets
            books.echoed_seconds = seconds
        elif step == "again":
            before, books = books, InterfaceBooks()
            sockets += 1
            books.follow(before, standing, went_down=False)
        elif books.is_proof_due(seconds):
            assert inside == []
            books.begin(standing)
        if (left := books.left(Standing(7, gone, (0, 0)))) is not None:
            assert left == len(inside)


def test_nothing_is_proven_at_once_or_by_nothing() -> None:
    books = InterfaceBooks()
    assert not books.is_proof_due(1.0)
    books.taken, books.echoes, books.echoed_seconds = 2, 1, 1.0
    assert not books.is_proof_due(2.0)
    books.echoes = 2
    assert not books.is_proof_due(1.001), "it may not be counted yet"
    assert books.is_proof_due(1.01)
