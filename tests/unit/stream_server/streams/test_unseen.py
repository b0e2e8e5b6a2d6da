"""A console that nobody watches keeps packets; whoever comes sees what everybody would have seen."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import encode_frames
from stream_server.streams.console import ConsoleStream
from stream_server.streams.ring import RingLimits
from tests.helpers.sse_streams import CAN0, Event, books, counted, frames, make_stream, moment, parse_events

_NUMBER: Final = PacketNumber("00" * 8, 1)
_STEP: Final = 0.05


def offer(stream: ConsoleStream, ids: list[int], seconds: float) -> None:
    batch = frames(ids)
    stream.offer_packet(batch, encode_frames(_NUMBER, batch, 1000), CAN0, moment(seconds))


def caught_up(stream: ConsoleStream, seconds: float) -> int:
    """How many steps it took."""
    for steps in range(10_000):
        if not stream.is_behind:
            return steps
        stream.catch_up(moment(seconds))
    raise AssertionError("it never catches up")


def everything(
    stream: ConsoleStream, seconds: float, last_event_id: str | None = None, history: float = 60.0
) -> list[Event]:
    cursor = stream.open(last_event_id, history, moment(seconds))
    caught_up(stream, seconds)
    events = []
    while stream.has_more(cursor):
        events += parse_events(stream.read(cursor, 1 << 20))
    return events


def of_kind(events: list[Event], *kinds: str) -> list[tuple[str, dict[str, Any]]]:
    return [(event.event, event.payload) for event in events if event.event in kinds]


Action = tuple[str, list[int]]
_IDS = st.lists(st.integers(0, 9), min_size=1, max_size=60)
_ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["packet", "packet", "gap", "presence", "clock"]), _IDS), st.just(("", [0]))
    ),
    max_size=60,
)


def presence(*, online: bool, reason: str) -> dict[str, Any]:
    return {"dongle_id": "van7-can0", "online": online, "reason": reason}


def play(stream: ConsoleStream, actions: list[Action]) -> float:
    """One action a beat, each followed by the beat's tick, as the fan-out does; the time at the end."""
    for step, (action, ids) in enumerate(actions):
        seconds = step * _STEP
        if action == "packet":
            offer(stream, ids, seconds)
        elif action == "gap":
            stream.emit("gap", {"dongle_id": "van7-can0", "frames": ids[0]}, moment(seconds))
        elif action == "presence":
            stream.set_presence(
                {"dongle_id": "van7-can0", "online": bool(ids[0] % 2), "reason": "heartbeat"}, moment(seconds)
            )
        elif action == "clock":
            stream.set_clock("van7-can0", moment(seconds), synchronised=bool(ids[0] % 2))
        stream.tick(moment(seconds))
    return len(actions) * _STEP


def shown_by_key(events: list[Event]) -> Counter[str]:
    shown: Counter[str] = Counter()
    for event in events:
        if event.event == "can_frame":
            shown[event.payload["id"]] += event.payload["count"]
    return shown


def test_each_frame_has_the_mark_of_its_own_time() -> None:
    stream = make_stream(max_frames_per_second=None)
    play(stream, [("clock", [0]), ("packet", [1]), ("clock", [1]), ("packet", [2])])
    marks = [
        payload.get("clock_synchronised") for _, payload in of_kind(everything(stream, 1.0), "can_frame")
    ]
    assert marks == [False, None]


@given(_ACTIONS, st.sampled_from([None, 40, 200]))
def test_nobody_can_tell_afterwards(actions: list[Action], limit: int | None) -> None:
    watched, unwatched = make_stream(max_frames_per_second=limit), make_stream(max_frames_per_second=limit)
    watched.watched = True
    end = play(watched, actions)
    assert play(unwatched, actions) == end
    settled = end + 2.0  # a second after the last frame no count is outstanding
    while watched.needs_ticks and end < settled:
        end += _STEP
        watched.tick(moment(end))
    ours, theirs = everything(unwatched, settled), everything(watched, settled)
    if unwatched.needs_ticks:
        unwatched.tick(moment(settled))
    assert shown_by_key(ours) == shown_by_key(theirs)
    assert of_kind(ours, "gap") == of_kind(theirs, "gap")
    assert [p["online"] for _, p in of_kind(ours, "presence")] == [
        p["online"] for _, p in of_kind(theirs, "presence")
    ]
    assert books(ours[-1].payload) == counted(ours) == books(theirs[-1].payload)
    ids = [event.event_id for event in ours if event.event_id is not None]
    assert ids == sorted(set(ids))
    if limit is None:
        shown = ("can_frame", "gap", "presence")
        assert of_kind(ours, *shown) == of_kind(theirs, *shown)


def test_a_client_that_comes_back_resumes_where_it_was() -> None:
    stream = make_stream(max_frames_per_second=None)
    stream.watched = True
    offer(stream, [1, 2], 0.0)
    stream.tick(moment(0.0))
    seen = everything(stream, 0.0)
    stream.watched = False
    for second in range(1, 20):
        offer(stream, [second], second)
        stream.tick(moment(second + 0.5))
    stream.watched = True
    last = max(event.event_id for event in seen if event.event_id is not None)
    came = of_kind(everything(stream, 20.0, str(last)), "can_frame", "stream_reset")
    assert [int(payload["id"], 16) for _, payload in came] == list(range(1, 20))


def test_while_behind_a_newcomer_gets_nothing_and_live_frames_keep_their_place() -> None:
    stream = make_stream(max_frames_per_second=None)
    offer(stream, [1], 0.0)
    stream.watched = True
    cursor = stream.open(None, 60.0, moment(1.0))
    offer(stream, [2], 1.0)
    stream.emit("log", {"number": 3}, moment(1.2))
    assert not stream.has_more(cursor)
    assert stream.read(cursor, 1 << 20) == b""
    caught_up(stream, 1.2)
    events = parse_events(stream.read(cursor, 1 << 20))
    assert [e.payload.get("id") for e in events if e.event != "presence"] == ["0x001", "0x002", None]
    assert events[-1].payload["frames_received"] == 2


def test_a_newcomer_without_history_gets_the_state_alone_with_true_books() -> None:
    stream = make_stream()
    for second in range(5):
        offer(stream, [1, 2] * 250, float(second))
    events = everything(stream, 6.0, history=0.0)
    assert [event.event for event in events] == ["presence"]
    assert (events[0].payload["frames_received"], events[0].payload["frames_pending"]) == (2500, 0)


def test_what_is_older_than_the_ring_is_not_shown_but_counted_and_old_places_are_reset() -> None:
    stream = make_stream(max_frames_per_second=None)
    first = stream.emit("log", {}, moment(0.0))
    for second in range(100):
        offer(stream, [second] * 3, float(second))
        stream.tick(moment(second + 0.1))
    events = everything(stream, 99.5, str(first))
    assert [event.event for event in events] == ["stream_reset", "presence"]
    assert events[0].payload["reason"] == "too_old"
    assert books(events[0].payload) == 300
    replayed = everything(stream, 99.5)
    shown = [int(event.payload["id"], 16) for event in replayed if event.event == "can_frame"]
    assert shown == [second for second in range(40, 100) for _ in range(3)]


def test_a_silent_stream_whose_packets_are_all_too_old_is_no_longer_behind() -> None:
    stream = make_stream()
    offer(stream, [1] * 500, 0.0)
    stream.set_presence(presence(online=False, reason="silence"), moment(1.0))
    stream.tick(moment(62.0))
    assert not stream.is_behind
    (state,) = everything(stream, 62.0, history=0.0)
    assert state.payload["reason"] == "silence"
    assert (state.payload["frames_received"], state.payload["frames_pending"]) == (500, 0)


def test_kept_packets_are_bounded_by_the_size_of_the_ring() -> None:
    stream = make_stream(max_frames_per_second=None, ring=RingLimits(size_bytes=20_000))
    for number in range(200):
        offer(stream, [number], number * 0.01)
        stream.tick(moment(number * 0.01))
    assert stream._unseen._queue._size_bytes <= 20_000
    events = everything(stream, 3.0)
    assert [p["id"] for _, p in of_kind(events, "can_frame")][-1] == "0x0C7"
    assert books(events[-1].payload) == 200


@pytest.mark.parametrize("limit", [200, None])
def test_catching_up_is_done_in_steps(limit: int | None) -> None:
    stream = make_stream(max_frames_per_second=limit)
    for second in range(60):
        offer(stream, list(range(50)) * 10, float(second))
    written = stream._ring.written_bytes
    steps = 0
    while stream.is_behind:
        stream.catch_up(moment(60.0))
        steps += 1
        # A step ends with the tick that has filled it: at most one packet's frames more.
        assert stream._ring.written_bytes - written < 128 * 1024 + 500 * 300
        written = stream._ring.written_bytes
    assert steps > 5
