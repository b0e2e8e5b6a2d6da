"""What a connection of /ws/relay gives to its sinks, and what it refuses."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.control import Error, encode_control_message
from can_stream.protocol.errors import WireError
from can_stream.protocol.hop import Age
from can_stream.protocol.marker import Marker
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, encode_frames, encode_gap, encode_marker
from can_stream.protocol.relay_control import (
    Credit,
    Cursor,
    Direction,
    Directions,
    GroupStanding,
    RelayPong,
    Settled,
    SinkState,
    Totals,
)
from can_stream.protocol.relay_items import Counts, Handed, Item, ItemEncoder
from edge_agent.relay.downlink.session import CREDIT_STEP, STATE_NS, RelaySession
from edge_agent.relay.sink import Sink
from tests.helpers.recording_sink import RecordingSink

START = "0123456789abcdef"
ON = "ab" * 16 + "-3"
MS = 1_000_000


def frames(count: int) -> FrameBatch:
    return FrameBatch(
        np.arange(count, dtype=np.int64),
        np.full(count, 0x123, np.uint32),
        np.zeros(count, np.uint8),
        np.zeros(count, np.uint8),
        np.zeros((count, 8), np.uint8),
    )


def packet(count: int = 3, position: int | None = 7) -> bytes:
    return encode_frames(PacketNumber(START, 5), frames(count), 1000, position)


class Sides:
    """A session with two sinks, and the server's end of it."""

    def __init__(self) -> None:
        self.sinks = {name: RecordingSink(name) for name in ("van-a", "van-b")}
        self.session = RelaySession(cast(dict[str, Sink], self.sinks))
        self.encoder = ItemEncoder()
        self.number = 0

    def say(self, message: Any, now_ns: int = 0) -> Error | None:
        return self.session.take(encode_control_message(message), now_ns)

    def hand(self, handed: Handed, now_ns: int = 0) -> None:
        self.session.take(self.encoder.encode(handed), now_ns)

    def direct(self, *sinks: str) -> None:
        self.number += 1
        self.say(Directions([Direction(name, "truck-c", ON) for name in sinks], self.number))

    def told(self) -> list[Any]:
        return [sink.told for sink in self.sinks.values()]


def test_hello_says_what_the_records_say() -> None:
    sides = Sides()
    cursor = Cursor("truck-c", START, 12, Totals(sent=12))
    sides.sinks["van-b"].cursors = [cursor]
    hello = sides.session.hello(START)
    assert [(one.dongle_id, one.cursors) for one in hello.sinks] == [("van-a", []), ("van-b", [cursor])]


def test_an_item_reaches_the_sink_of_its_direction_with_the_moment_it_was_read() -> None:
    sides = Sides()
    sides.direct("van-b", "van-a")
    ping = sides.session.ping(100 * MS)
    item = Item(0, Age(2_000, ping.number, 1_000), fresh=True, packet=packet(), from_log=True)
    sides.hand(item, 110 * MS)
    ((start_id, position, batch, born_ns, fresh, now_ns, transit_ns, from_log),) = sides.sinks["van-b"].of(
        "item"
    )
    assert (start_id, position, len(batch), fresh, now_ns) == (START, 7, 3, True, 110 * MS)
    assert from_log
    assert born_ns == 99 * MS
    assert transit_ns == now_ns - born_ns - 2 * MS, (
        "what it was old when it was sent, and its way, are its age"
    )
    counts = Counts(1, START, 10, 20, 10, "too_old")
    sides.hand(counts)
    assert sides.sinks["van-a"].of("counts") == [counts]
    assert sides.sinks["van-a"].of("item") == []


def test_a_lease_runs_from_when_its_ping_was_sent() -> None:
    sides = Sides()
    ping = sides.session.ping(100 * MS)
    sides.say(RelayPong(ping.number, [ON]), 900 * MS)
    sides.say(RelayPong(ping.number, [ON]), 900 * MS)
    sides.say(RelayPong(ping.number + 1, [ON]), 900 * MS)
    assert [sink.of("leased") for sink in sides.sinks.values()] == [[(100 * MS, [ON])]] * 2


def test_how_the_groups_stand_is_kept_until_it_is_said_again_and_decides_nothing() -> None:
    sides = Sides()
    assert sides.session.groups == {}
    active = GroupStanding("van-a", "vans", "active")
    ping = sides.session.ping(0)
    sides.say(RelayPong(ping.number, [], [active, GroupStanding("of-another", "x", "active")]))
    assert sides.session.groups == {"van-a": active}
    assert sides.sinks["van-a"].of("leased") == [(0, [])]
    sides.say(RelayPong(sides.session.ping(1).number, []))
    assert sides.session.groups == {"van-a": active}
    sides.say(RelayPong(sides.session.ping(2).number, [], []))
    assert sides.session.groups == {}


def test_the_age_of_the_oldest_answer_that_is_waited_for() -> None:
    sides = Sides()
    assert sides.session.unanswered_ns(50) == 0
    first = sides.session.ping(100)
    sides.session.ping(200)
    assert sides.session.unanswered_ns(350) == 250
    sides.say(RelayPong(first.number, []))
    assert sides.session.unanswered_ns(350) == 150


BROKEN = {
    "an item before directions": lambda sides: sides.hand(Item(0, Age(0, 0, 0), fresh=True, packet=packet())),
    "a direction to a dongle that was not offered": lambda sides: sides.direct("van-a", "van-c"),
    "two directions to one dongle": lambda sides: sides.direct("van-a", "van-a"),
    "no JSON": lambda sides: sides.session.take("{", 0),
    "a word of the other side": lambda sides: sides.say(Credit("van-a", 5)),
    "bytes that do not inflate": lambda sides: sides.session.take(b"\xff\xff\xff\xff", 0),
    "nothing": lambda sides: sides.session.take(b"", 0),
}
BEHIND_DIRECTIONS = {
    "another direction": lambda sides: sides.hand(Item(1, Age(0, 0, 0), fresh=True, packet=packet())),
    "no packet": lambda sides: sides.hand(Item(0, Age(0, 0, 0), fresh=True, packet=b"\x01\x02")),
    "a packet without a position": lambda sides: sides.hand(
        Item(0, Age(0, 0, 0), fresh=True, packet=packet(position=None))
    ),
    "a marker as an item": lambda sides: sides.hand(
        Item(0, Age(0, 0, 0), fresh=True, packet=encode_marker(PacketNumber(START, 4), Marker(ON), 7))
    ),
    "a gap as an item": lambda sides: sides.hand(
        Item(
            0,
            Age(0, 0, 0),
            fresh=True,
            packet=encode_gap(PacketNumber(START, 4), Gap(GapReason.SOURCE, 4, 3), 7),
        )
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_rules_is_refused_and_reaches_no_sink(name: str) -> None:
    sides = Sides()
    with pytest.raises(WireError):
        BROKEN[name](sides)
    assert sides.told() == [[], []]


@pytest.mark.parametrize("name", BEHIND_DIRECTIONS)
def test_what_breaks_the_rules_behind_directions_reaches_no_sink(name: str) -> None:
    sides = Sides()
    sides.direct("van-a")
    before = [list(told) for told in sides.told()]
    with pytest.raises(WireError):
        BEHIND_DIRECTIONS[name](sides)
    assert sides.told() == before


def test_what_a_sink_refuses_ends_the_connection() -> None:
    sides = Sides()
    sides.direct("van-a")
    sides.sinks["van-a"].refuses = True
    with pytest.raises(WireError, match="beyond the credit"):
        sides.hand(Item(0, Age(0, 0, 0), fresh=True, packet=packet()))


@given(st.lists(st.binary(max_size=60) | st.text(max_size=60), max_size=5))
def test_any_messages_are_taken_or_refused_by_the_documented_error(contents: list[str | bytes]) -> None:
    sides = Sides()
    sides.direct("van-a")
    for content in contents:
        try:
            sides.session.take(content, 0)
        except WireError:
            break
    assert sides.sinks["van-a"].of("leased") == []


def test_reports_say_what_moved_and_room_for_more_in_steps() -> None:
    sides = Sides()
    sink = sides.sinks["van-a"]
    sink.cursors = [Cursor("truck-c", START, 3)]
    assert sides.session.reports(0) == [], "nothing before directions"
    sides.direct("van-a")
    first, second, *states = sides.session.reports(1)
    assert (first, second) == (Settled("van-a", Cursor("truck-c", START, 3)), Credit("van-a", 2_000, 1))
    assert [type(one) for one in states] == [SinkState, SinkState]
    sink.credit += CREDIT_STEP - 1
    cursor = Cursor("truck-c", START, 12)
    sink.cursors = [cursor]
    assert sides.session.reports(2) == [Settled("van-a", cursor)]
    sink.credit += 1
    assert sides.session.reports(3) == [Credit("van-a", 2_000 + CREDIT_STEP, 1)]
    sides.direct("van-a")
    assert Credit("van-a", sink.credit, 2) in sides.session.reports(4), "new directions know of no credit"


def test_how_a_sink_stands_is_said_each_second_where_it_has_changed() -> None:
    sides = Sides()
    sides.direct("van-a")
    sides.session.reports(0)
    sides.sinks["van-a"].waits_for = "lease"
    assert sides.session.reports(STATE_NS - 1) == []
    assert sides.session.reports(STATE_NS) == [SinkState("van-a", "lease", None, ON)]
    assert sides.session.reports(2 * STATE_NS) == []


def test_a_loop_is_said_at_once_and_again_for_another_activation() -> None:
    sides = Sides()
    sides.direct("van-a")
    sides.session.reports(0)
    loop, other = SinkState("van-a", "loop: 20 frames", None, ON), "ab" * 16 + "-99"
    sides.sinks["van-a"].waits_for = loop.waits_for
    assert loop in sides.session.reports(1)
    assert loop not in sides.session.reports(2)
    sides.direct("van-a")  # of the same activation: the server knows
    assert loop not in sides.session.reports(3)
    sides.say(Directions([Direction("van-a", "truck-c", other)], 9))
    assert SinkState("van-a", "loop: 20 frames", None, other) in sides.session.reports(4)


def test_an_error_of_the_server_is_told_and_an_end_disconnects_every_sink() -> None:
    sides = Sides()
    error = Error("NOT_ALLOWED", "no")
    assert sides.say(error) == error
    sides.session.end(5)
    assert [sink.of("disconnected") for sink in sides.sinks.values()] == [[5], [5]]
