"""A stream of two dongles: both in the order in which they came, one set of books, each in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import encode_frames
from can_stream.signals.table import SignalTable
from can_stream.text.frame_json import FrameOrigin
from stream_server.streams.console import ConsoleStream, Cursor, StreamLimits
from stream_server.streams.event_ids import IdSource
from stream_server.streams.hub import StreamHub
from stream_server.streams.ring import RingLimits
from stream_server.streams.sse_format import encode_shared
from tests.helpers.server_parts import TABLE, values
from tests.helpers.signal_tables import gear_table
from tests.helpers.sse_streams import WALL_US, Event, books, counted, frames, moment, parse_events

A, B = FrameOrigin("van7-can0", "can0"), FrameOrigin("van8-can1", "can1")
DONGLES = ("van7-can0", "van8-can1")
OTHER_TABLE = "b" * 32
_NUMBER = PacketNumber("00" * 8, 1)


def summary(presences: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"group_id": "bridge", "offline": [one["dongle_id"] for one in presences if not one["online"]]}


def presence(dongle_id: str, *, online: bool, seen_at: str = "now") -> dict[str, Any]:
    return {"dongle_id": dongle_id, "online": online, "reason": "heartbeat", "seen_at": seen_at}


def new_hub(limit: int | None = 200, tables: dict[str, SignalTable] | None = None) -> StreamHub:
    ids = IdSource(WALL_US)
    ids.reserved(WALL_US + 10**12)
    limits = StreamLimits(RingLimits(), limit)
    known = tables or {}
    return StreamHub(ids, limits, lambda table_hash: known.get(table_hash or ""))


def new_group(hub: StreamHub, seconds: float = 0.0) -> ConsoleStream:
    return hub.add_group("bridge", DONGLES, summary, moment(seconds))


def watch(stream: ConsoleStream, seconds: float = 0.0) -> tuple[Cursor, list[Event]]:
    stream.watched = True
    cursor = stream.open(None, 0, moment(seconds))
    return cursor, told(stream, cursor, seconds)


def told(stream: ConsoleStream, cursor: Cursor, seconds: float) -> list[Event]:
    stream.tick(moment(seconds))
    while stream.is_behind:
        stream.catch_up(moment(seconds))
    return parse_events(stream.read(cursor, 1 << 30))


def offer(hub: StreamHub, origin: FrameOrigin, ids: list[int], seconds: float) -> None:
    batch = frames(ids)
    assert origin.dongle_id is not None
    packet = encode_frames(_NUMBER, batch, 1000)
    hub.feed(origin.dongle_id).offer_packet(batch, packet, origin, moment(seconds))


def shown(events: list[Event]) -> list[tuple[str, str, str]]:
    return [
        (event.payload["dongle_id"], event.payload["bus"], event.payload["id"])
        for event in events
        if event.event == "can_frame"
    ]


def test_both_dongles_are_shown_in_the_order_in_which_they_came() -> None:
    hub = new_hub()
    stream = new_group(hub)
    cursor, _ = watch(stream)
    offer(hub, A, [1], 0.0)
    offer(hub, B, [1, 2], 0.01)
    offer(hub, A, [3], 0.02)
    events = told(stream, cursor, 0.05)
    assert shown(events) == [
        ("van7-can0", "can0", "0x001"),
        ("van8-can1", "can1", "0x001"),
        ("van8-can1", "can1", "0x002"),
        ("van7-can0", "can0", "0x003"),
    ]
    own = hub.get("van8-can1")
    assert {name for name, _, _ in shown(told(own, own.open(None, 60, moment(0.1)), 0.1))} == {"van8-can1"}


def test_whoever_comes_is_told_of_the_group_and_of_each_dongle_and_then_of_changes_alone() -> None:
    hub = new_hub()
    hub.feed("van7-can0").set_presence(presence("van7-can0", online=True), moment(0.0))
    stream = new_group(hub)
    cursor, events = watch(stream)
    assert [event.event for event in events] == ["group_state", "presence", "presence"]
    assert [event.event_id for event in events] == [None] * 3
    assert events[0].payload["offline"] == ["van8-can1"]
    assert [event.payload["online"] for event in events[1:]] == [True, False]
    for seen_at in ("now", "later"):
        hub.feed("van8-can1").set_presence(presence("van8-can1", online=True, seen_at=seen_at), moment(1.0))
    events = told(stream, cursor, 1.0)
    assert [(event.event, event.payload.get("dongle_id")) for event in events] == [
        ("presence", "van8-can1"),
        ("group_state", None),
    ]
    assert all(event.event_id is not None for event in events)
    assert events[1].payload["offline"] == []


def test_each_state_is_told_again_when_it_was_told_half_a_minute_ago() -> None:
    hub = new_hub()
    stream = new_group(hub)
    cursor, _ = watch(stream)
    hub.feed("van8-can1").set_presence(presence("van8-can1", online=True), moment(20.0))
    assert len(told(stream, cursor, 20.0)) == 2
    again = told(stream, cursor, 30.0)
    assert [(event.event, event.payload.get("dongle_id")) for event in again] == [("presence", "van7-can0")]
    assert [event.event for event in told(stream, cursor, 50.0)] == ["group_state", "presence"]


def test_the_limit_is_of_the_stream_and_the_books_are_of_both_dongles_together() -> None:
    hub = new_hub(limit=20)
    stream = new_group(hub)
    cursor, events = watch(stream)
    start = books(events[0].payload)
    collected: list[Event] = []
    for step in range(60):
        offer(hub, A, [1, 2, 3] * 5, step * 0.05)
        offer(hub, B, [1, 2, 3] * 5, step * 0.05)
        collected += told(stream, cursor, step * 0.05)
    assert len(shown(collected)) <= 3 * 20 + 20
    assert {name for name, _, _ in shown(collected)} == set(DONGLES)
    for step in range(60, 90):
        collected += told(stream, cursor, step * 0.05)
    _, events = watch(stream, 5.0)
    assert [books(event.payload) for event in events] == [start + 1800] * 3
    assert counted(collected) == 1800
    assert hub.get("van7-can0").max_frames_per_second == 20


def test_frames_are_decoded_with_the_table_and_marked_by_the_clock_of_their_own_dongle() -> None:
    hub = new_hub(tables={TABLE: gear_table(), OTHER_TABLE: gear_table()})
    hub.feed("van7-can0").set_table(TABLE)
    hub.feed("van8-can1").set_clock(moment(0.0), synchronised=False)
    stream = new_group(hub)
    cursor, _ = watch(stream)
    for origin in (A, B):
        offer(hub, origin, [0x100], 0.0)
    payloads = [event.payload for event in told(stream, cursor, 0.05)]
    assert [payload.get("message") for payload in payloads] == ["Drive", None]
    assert [payload.get("clock_synchronised") for payload in payloads] == [None, False]
    hub.feed("van8-can1").set_table(OTHER_TABLE)
    hub.feed("van8-can1").set_clock(moment(0.1), synchronised=True)
    offer(hub, B, [0x100], 0.1)
    (payload,) = (event.payload for event in told(stream, cursor, 0.1))
    assert (payload["message"], payload.get("clock_synchronised")) == ("Drive", None)


def test_values_of_two_dongles_have_tables_of_their_own_and_share_the_limit() -> None:
    other = gear_table(unit="other")
    tables = {TABLE: gear_table(), OTHER_TABLE: other}
    hub = new_hub(limit=20, tables=tables)
    stream = new_group(hub)
    cursor, _ = watch(stream)
    counts = {"van7-can0": 0, "van8-can1": 0}
    for step in range(100):
        for number in range(4):
            for origin, table in ((A, TABLE), (B, OTHER_TABLE)):
                body = values(step * 4 + number, 0, 1, table_hash=table)
                stream.offer_body(body, origin, step * 0.05)
        for event in told(stream, cursor, step * 0.05):
            if event.event == "signals":
                counts[event.payload["dongle_id"]] += 1
    assert counts["van7-can0"] == pytest.approx(50, abs=8)
    assert counts["van8-can1"] == pytest.approx(50, abs=8)


def test_a_group_that_was_not_watched_shows_afterwards_what_it_would_have_shown() -> None:
    hub = new_hub()
    stream = new_group(hub)
    for step in range(40):
        offer(hub, A if step % 2 else B, [step], step * 0.1)
        stream.tick(moment(step * 0.1))
    cursor = stream.open(None, 60, moment(4.0))
    stream.watched = True
    events = told(stream, cursor, 4.0)
    assert [name for name, _, _ in shown(events)] == ["van8-can1", "van7-can0"] * 20
    assert [event.event for event in events[-3:]] == ["group_state", "presence", "presence"]
    assert books(events[-1].payload) == 40


def test_a_group_and_a_dongle_may_be_called_alike() -> None:
    hub = new_hub()
    hub.get("bridge").emit("log", {"of": "dongle"}, moment(0.0))
    stream = new_group(hub)
    stream.emit("log", {"of": "group"}, moment(0.0))
    assert hub.group("bridge") is stream is not hub.get("bridge")
    assert hub.groups() == [stream]
    assert {str(one.subject.name) for one in hub} >= {"dongle bridge", "group bridge"}
    replayed = [told(one, one.open(None, 60, moment(0.1)), 0.1)[0] for one in (stream, hub.get("bridge"))]
    assert [event.payload["of"] for event in replayed] == ["group", "dongle"]


def test_an_event_of_both_consoles_takes_its_room_once() -> None:
    hub = new_hub()
    stream = new_group(hub)
    both = hub.showing(DONGLES)
    assert both == [hub.get("van7-can0"), stream, hub.get("van8-can1")], "each once, also of two dongles"
    before = [one.own_bytes for one in both]
    text = encode_shared("log", {"message": "x" * 100_000})
    for one in both:
        one.emit("log", text, moment(0.0))
    assert sum(one.own_bytes for one in both) - sum(before) < 2_000
    cursor = stream.open(None, 60, moment(0.0))
    assert len(told(stream, cursor, 0.0)[0].payload["message"]) == 100_000


def test_a_group_that_is_no_more_gets_nothing_and_its_dongles_go_on() -> None:
    hub = new_hub()
    stream = new_group(hub)
    cursor, _ = watch(stream)
    hub.remove_group("bridge")
    offer(hub, A, [1], 0.0)
    assert stream.ended
    assert told(stream, cursor, 0.1) == []
    assert hub.groups() == []
    own = hub.get("van7-can0")
    assert len(shown(told(own, own.open(None, 60, moment(0.1)), 0.1))) == 1
    with pytest.raises(KeyError):
        hub.group("bridge")


@given(
    st.lists(st.integers(-3_600_000_000, 3_600_000_000), min_size=2, max_size=6),
    st.integers(1, 5),
)
@settings(deadline=None)
def test_ids_of_a_name_increase_over_groups_that_come_and_go_whatever_the_clock_does(
    jumps_us: list[int], events: int
) -> None:
    hub, last = new_hub(), 0
    for jump_us in jumps_us:
        now = moment(0.0)._replace(wall_us=WALL_US + jump_us)
        stream = hub.add_group("bridge", DONGLES, summary, now)
        resumed = stream.open(str(last), 0, now)
        assert last == 0 or resumed.reset is not None or resumed.position == last == stream.last_id
        for number in range(events):
            event_id = stream.emit("log", {"number": number}, now)
            assert event_id > last
            last = event_id
        hub.remove_group("bridge")
