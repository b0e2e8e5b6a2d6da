"""What a sink asks for, and whose connection it is handed on."""

from __future__ import annotations

from can_stream.protocol.relay_control import Credit, SinkState
from stream_server.groups.group_state import DirectionBooks
from stream_server.relay.direction import RelayDirection
from stream_server.relay.link import Link
from stream_server.relay.relay_store import Way


def link() -> Link:
    return Link(Way("can0", "can8"), "bridge", RelayDirection("can0", "can8", 10**9))


def test_only_what_was_asked_for_since_these_directions_counts() -> None:
    one = link()
    assert one.room_frames == 0
    one.directed("a", 1)
    one.credit(Credit("can8", 100, 1))
    one.credit(Credit("can8", 90, 1))
    one.handed_frames += 30
    assert one.room_frames == 70
    assert one.wake.is_set()
    one.directed("a", 2)
    one.credit(Credit("can8", 500, 1))
    assert one.room_frames == 0, "it was on its way while newer directions were said"
    one.credit(Credit("can8", 10, 2))
    one.handed_frames += 30
    assert one.room_frames == 0


def test_an_older_connection_that_ends_takes_nothing_from_a_newer_one() -> None:
    one = link()
    one.directed("old", 1)
    one.directed("new", 1)
    one.credit(Credit("can8", 100, 1))
    one.lost("old")
    assert (one.owner, one.room_frames) == ("new", 100)
    one.lost("new")
    assert (one.owner, one.room_frames) == (None, 0)


def test_how_its_sink_stands_is_in_its_books() -> None:
    one = link()
    one.directed("a", 1)
    one.state(SinkState("can8", "bus_load", (1.5, 9.0)))
    one.state(SinkState("can8", "bus_load"))
    assert one.books(0) == DirectionBooks(latency_ms=(1.5, 9.0), waits_for="bus_load")
    one.lost("a")
    assert one.books(0) == DirectionBooks()
