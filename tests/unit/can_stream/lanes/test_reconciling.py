"""What an agent learns of its own books from the server's."""

from __future__ import annotations

from can_stream.lanes.backlog import Stretch
from can_stream.lanes.reconciling import AtHello, Difference, at_hello, difference
from can_stream.protocol.lanes_control import LedgerEntry, StartBooks

OWN, EARLIER = "11" * 8, "22" * 8


def told(at: AtHello, *books: StartBooks, earlier: tuple[LedgerEntry, ...] = ()) -> Difference:
    return difference(at, OWN, books, earlier)


def test_what_waits_at_hello_is_that_of_this_start() -> None:
    listed = [Stretch(EARLIER, 1, 9, 0, 90, 0, None), Stretch(OWN, 3, 5, 20, 30, 10, 1.0)]
    entry = LedgerEntry(OWN, 5, 50, 18)
    assert at_hello(entry, listed) == AtHello(50, 18, 20, 10)


def test_books_that_add_up_differ_in_nothing() -> None:
    at = AtHello(
        made=100, acknowledged=60, waiting=30, gaps_waiting=0
    )  # 10 lost before they came to the lane
    assert told(at, StartBooks(OWN, 60, 10, 30)) == Difference()
    assert told(at, StartBooks(OWN, 75, 10, 15)) == Difference()  # acknowledgements that did not arrive


def test_a_server_that_went_back_is_found_out() -> None:
    at = AtHello(made=100, acknowledged=100, waiting=0, gaps_waiting=0)
    assert told(at, StartBooks(OWN, 70, 30, 0)) == Difference(lost=30)
    assert told(at, StartBooks(OWN, 70, 0, 30)) == Difference(lost=30)


def test_what_was_given_up_here_and_is_there_is_found() -> None:
    at = AtHello(made=100, acknowledged=60, waiting=0, gaps_waiting=0)
    assert told(at, StartBooks(OWN, 90, 10, 0)) == Difference(found=30)
    waits = AtHello(made=100, acknowledged=60, waiting=0, gaps_waiting=40)
    assert told(waits, StartBooks(OWN, 60, 0, 40)) == Difference()


def test_books_that_do_not_add_up_are_named() -> None:
    at = AtHello(made=100, acknowledged=90, waiting=10, gaps_waiting=0)
    assert told(at, StartBooks(OWN, 90, 0, 3)).unexplained == 7


def test_earlier_starts_are_looked_at_too() -> None:
    at = AtHello()
    entry = LedgerEntry(EARLIER, 9, 90, 80)
    found = told(at, StartBooks(OWN, 0, 0, 0), StartBooks(EARLIER, 50, 40, 0), earlier=(entry,))
    assert found == Difference(earlier_lost=30)


def test_a_server_that_says_no_books_is_believed_as_before() -> None:
    assert told(AtHello(100, 0, 100, 0)) == Difference()
