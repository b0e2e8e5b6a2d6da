"""One console stream as its subscribers see it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from can_stream.frames.batches import FrameFlag, batch_of
from can_stream.signals.evaluate import decode
from can_stream.text.frame_json import FrameOrigin, can_frame_json, rows_of
from can_stream.text.signals_json import frame_members
from stream_server.streams.console import ConsoleStream, StreamLimits
from stream_server.streams.console_signals import members_of
from stream_server.streams.event_ids import IdSource
from stream_server.streams.hub import StreamHub
from stream_server.streams.ring import RingLimits
from stream_server.streams.subject import of_dongle
from tests.helpers.signal_tables import demo_samples, demo_table
from tests.helpers.sse_streams import (
    CAN0,
    WALL_US,
    Event,
    books,
    counted,
    frames,
    make_stream,
    moment,
    parse_events,
)

ONLINE: dict[str, Any] = {
    "dongle_id": "van7-can0",
    "online": True,
    "agent_id": "van7",
    "seen_at": "2025-12-22T15:31:02.000000Z",
    "reason": "connected",
    "clock_synchronised": True,
}


def opened(stream: ConsoleStream, text: str | None, seconds: float, history: float = 0) -> list[Event]:
    return parse_events(stream.read(stream.open(text, history, moment(seconds)), 1 << 30))


def recorded_stream() -> tuple[ConsoleStream, list[Event]]:
    """A busy stream and all its events: presence, frames, merged frames, logs."""
    stream = make_stream(max_frames_per_second=20)
    cursor = stream.open(None, 0, moment(0.0))
    for step in range(120):
        now = moment(step * 0.05)
        if step < 60:
            stream.offer_body(frames([1, 2, 3] * (1 + step % 7)), CAN0, now.seconds)
        if step % 10 == 0:
            stream.set_presence(ONLINE | {"online": step % 20 == 0}, now)
        stream.tick(now)
    return stream, parse_events(stream.read(cursor, 1 << 30))


def test_a_new_subscriber_gets_the_current_state_without_an_id_and_then_what_happens() -> None:
    stream = make_stream()
    stream.set_presence(ONLINE, moment(0.0))
    cursor = stream.open(None, 0, moment(0.1))
    (state,) = parse_events(stream.read(cursor, 1 << 20))
    assert state.event_id is None
    assert state.payload == {"type": "presence", **ONLINE, "frames_received": 0, "frames_pending": 0}
    event_id = stream.emit("gap", {"dongle_id": "van7-can0", "frames": 3}, moment(0.2))
    (gap,) = parse_events(stream.read(cursor, 1 << 20))
    assert (gap.event_id, gap.event, gap.payload["type"], gap.payload["frames"]) == (
        event_id,
        "gap",
        "gap",
        3,
    )


def test_cut_and_resumed_at_every_id_nothing_is_missing_and_nothing_comes_twice() -> None:
    stream, events = recorded_stream()
    with_id = [event for event in events if event.event_id is not None]
    assert {event.event for event in with_id} == {"presence", "can_frame", "log"}
    for number, event in enumerate(with_id):
        assert opened(stream, str(event.event_id), 6.0) == with_id[number + 1 :]


def test_cut_at_every_id_of_a_ring_that_moved_on_there_is_the_rest_or_exactly_one_reset() -> None:
    stream = make_stream(ring=RingLimits(events=50))
    issued = [stream.emit("log", {"number": number}, moment(number * 0.01)) for number in range(120)]
    for number, event_id in enumerate(issued):
        got = opened(stream, str(event_id), 2.0)
        if number >= 69:
            assert [event.event_id for event in got] == issued[number + 1 :]
        else:
            assert [(event.event, event.event_id) for event in got] == [
                ("stream_reset", issued[-1]),
                ("presence", None),
            ]
            assert got[0].payload["reason"] == "too_old"


@pytest.mark.parametrize(
    ("text", "reason", "requested"),
    [
        (str(WALL_US - 1), "too_old", WALL_US - 1),
        (str(WALL_US + 10**9), "unknown", WALL_US + 10**9),
        ("nonsense", "unknown", None),
        ("9" * 21, "unknown", None),
        ("-5", "unknown", None),
    ],
)
def test_what_cannot_be_resumed_is_reset_with_books(text: str, reason: str, requested: int | None) -> None:
    stream = make_stream(max_frames_per_second=10)
    stream.offer_body(frames([1, 2, 3, 4, 5] * 10), CAN0, 1.0)
    stream.tick(moment(1.0))
    reset, state = opened(stream, text, 1.0)
    assert reset.event_id == stream.last_id
    assert reset.payload == {
        "type": "stream_reset",
        "reason": reason,
        "requested_id": requested,
        "oldest_id": WALL_US + 1_000_000,
        "newest_id": stream.last_id,
        "frames_received": 50,
        "frames_pending": 40,
    }
    assert (state.event_id, state.payload["frames_pending"]) == (None, 40)


def test_an_empty_ring_resumes_at_the_last_id() -> None:
    stream = make_stream()
    assert opened(stream, str(stream.last_id), 0.0) == []
    event_id = stream.emit("log", {}, moment(0.0))
    stream.tick(moment(70.0))
    assert opened(stream, str(event_id), 71.0) == []
    assert opened(stream, str(event_id - 1), 71.0)[0].payload["oldest_id"] == event_id
    assert opened(stream, str(event_id + 1), 71.0)[0].payload["reason"] == "unknown"


def test_a_subscriber_that_the_ring_passes_is_reset_and_goes_on() -> None:
    stream = make_stream(ring=RingLimits(events=10))
    cursor = stream.open(None, 0, moment(0.0))
    stream.read(cursor, 1 << 20)
    for number in range(30):
        stream.emit("log", {"number": number}, moment(0.1))
    reset, state = parse_events(stream.read(cursor, 1 << 20))
    assert (reset.event, reset.payload["reason"], state.event) == ("stream_reset", "too_old", "presence")
    stream.emit("log", {"number": 30}, moment(0.2))
    (event,) = parse_events(stream.read(cursor, 1 << 20))
    assert event.payload["number"] == 30


def test_history_comes_before_the_state_so_that_the_books_hold_at_the_cursor() -> None:
    stream = make_stream()
    for second in range(10):
        stream.offer_body(frames([second]), CAN0, float(second))
        stream.tick(moment(second))
    events = opened(stream, None, 9.0, history=3.5)
    assert [event.event for event in events] == ["can_frame"] * 4 + ["presence"]
    assert events[0].payload["id"] == "0x006"
    assert books(events[-1].payload) == 10
    assert len(opened(stream, None, 9.0, history=10**9)) == 11


def test_history_in_pieces_ends_with_the_state() -> None:
    stream, _ = recorded_stream()
    cursor = stream.open(None, 60, moment(6.0))
    events: list[Event] = []
    while stream.has_more(cursor):
        events += parse_events(stream.read(cursor, 300))
    assert [event.event_id for event in events].index(None) == len(events) - 1


def test_the_books_hold_at_every_moment_of_a_busy_bus() -> None:
    stream = make_stream()
    random = np.random.default_rng(2)
    joined: list[tuple[Any, int]] = []
    totals: list[int] = []
    for step in range(400):
        now = moment(step * 0.05)
        stream.offer_body(frames(random.integers(0, 60, random.integers(0, 500)).tolist()), CAN0, now.seconds)
        if step % 50 == 7:
            cursor = stream.open(None, 0, now)
            (state,) = parse_events(stream.read(cursor, 1 << 20))
            joined.append((cursor, books(state.payload)))
            totals.append(0)
        stream.tick(now)
        (now_state,) = opened(stream, None, now.seconds)
        for number, (cursor, base) in enumerate(joined):
            totals[number] += counted(parse_events(stream.read(cursor, 1 << 30)))
            assert totals[number] == books(now_state.payload) - base


def test_a_change_of_presence_is_an_event_and_a_newer_seen_at_is_not() -> None:
    stream = make_stream()
    stream.set_presence(ONLINE, moment(0.0))
    before = stream.last_id
    stream.set_presence(ONLINE | {"seen_at": "2025-12-22T15:32:02.000000Z"}, moment(1.0))
    assert stream.last_id == before
    (state,) = opened(stream, None, 1.0)
    assert state.payload["seen_at"] == "2025-12-22T15:32:02.000000Z"
    stream.set_presence(ONLINE | {"online": False, "reason": "closed"}, moment(2.0))
    assert stream.last_id > before


def test_the_state_is_repeated_every_30_seconds() -> None:
    stream = make_stream()
    cursor = stream.open(None, 0, moment(0.0))
    stream.read(cursor, 1 << 20)
    events: list[Event] = []
    for second in range(100):
        stream.tick(moment(second))
        events += parse_events(stream.read(cursor, 1 << 20))
    assert [event.event for event in events] == ["presence"] * 3
    assert all(event.event_id is not None for event in events)


def sampler_logs(frames_per_tick: list[int]) -> list[dict[str, Any]]:
    stream = make_stream(max_frames_per_second=100)
    cursor = stream.open(None, 0, moment(0.0))
    for step, count in enumerate(frames_per_tick):
        now = moment(step * 0.05)
        stream.offer_body(frames([number % 50 for number in range(count)]), CAN0, now.seconds)
        stream.tick(now)
    return [event.payload for event in parse_events(stream.read(cursor, 1 << 30)) if event.event == "log"]


def test_sampling_is_told_when_it_starts_changes_and_stops() -> None:
    logs = sampler_logs([2] * 40 + [50] * 100 + [400] * 100 + [0] * 100)
    assert [(log["details"]["active"], log["source"], log["level"]) for log in logs] == [
        (True, "sampler", "warning"),
        (True, "sampler", "warning"),
        (False, "sampler", "warning"),
    ]
    start, change, _ = (log["details"] for log in logs)
    assert start["frames_in_per_second"] == pytest.approx(1000, rel=0.1)
    assert start["factor"] == pytest.approx(10, rel=0.15)
    assert change["frames_in_per_second"] == pytest.approx(8000, rel=0.1)
    assert change["frames_out_per_second"] <= 100
    assert set(start) == {"active", "frames_in_per_second", "frames_out_per_second", "factor"}
    assert logs[0]["ts"].endswith("Z")


def test_sampling_does_not_flap_in_the_log() -> None:
    assert len(sampler_logs(([50] * 20 + [0] * 20) * 10 + [0] * 60)) == 2


def test_a_bus_below_the_limit_is_never_told_to_be_sampled() -> None:
    assert sampler_logs([4] * 400) == []


def test_a_frame_is_shown_in_the_fixed_shape() -> None:
    batch = batch_of(
        [
            (1_766_417_462_000_123_999, 0x7E8, 0, 8, bytes.fromhex("0210030000000000")),
            (
                0,
                0x18DAF110,
                FrameFlag.EXTENDED | FrameFlag.TX | FrameFlag.FD | FrameFlag.BRS,
                12,
                b"\xab" * 12,
            ),
            (0, 1, FrameFlag.REMOTE, 5, b""),
            (0, 4, FrameFlag.ERROR, 8, bytes(8)),
        ]
    )
    classic, fd, remote, error = (
        can_frame_json(row, FrameOrigin("van7-can0", "can0"), 1) for row in rows_of(batch)
    )
    assert classic == (
        b'{"type":"can_frame","ts":"2025-12-22T15:31:02.000123Z","dongle_id":"van7-can0","direction":"rx",'
        b'"bus":"can0","id":"0x7E8","is_extended":false,"dlc":8,"data_hex":"02 10 03 00 00 00 00 00",'
        b'"count":1}'
    )
    assert b'"direction":"tx","bus":"can0","id":"0x18DAF110","is_extended":true,"dlc":9' in fd
    assert fd.endswith(b'AB","is_fd":true,"brs":true,"count":1}')
    assert b'"dlc":5,"data_hex":"","is_remote":true' in remote
    assert b'"is_error":true' in error


def test_a_hub_gives_the_same_stream_for_the_same_dongle() -> None:
    hub = StreamHub(IdSource(WALL_US), StreamLimits())
    assert hub.get("a") is hub.get("a")
    assert hub.get("a") is not hub.get("b")
    assert [str(stream.subject.name) for stream in hub] == ["dongle a", "dongle b"]
    assert len(hub) == 2


def test_activity_is_told_and_ticks_are_needed_until_all_is_shown() -> None:
    active: list[ConsoleStream] = []
    ids = IdSource(WALL_US)
    ids.reserved(WALL_US + 10**9)
    stream = ConsoleStream(of_dongle("van7-can0"), ids, StreamLimits(max_frames_per_second=10), active.append)
    stream.offer_body(frames([1, 2, 3, 4]), CAN0, 0.0)
    assert active == [stream]
    assert stream.needs_ticks
    for step in range(20):
        stream.tick(moment(step * 0.05))
    assert not stream.needs_ticks


def test_frames_shown_together_are_decoded_as_in_their_own_batches() -> None:
    table, (samples, _) = demo_table(), demo_samples()
    odd = batch_of(
        [
            (0, 0x100, 0, 9, bytes(8)),
            (0, 0x100, 0, 1, b"\x01"),
            (0, 0x7FF, 0, 0, b""),
            (0, 0x100, FrameFlag.FD, 12, bytes(12)),
            (0, 0x100, FrameFlag.REMOTE, 8, b""),
        ]
    )
    expected = []
    for batch in (samples, odd):
        decoded = decode(table, batch)
        expected += [frame_members(decoded, place) for place in range(len(batch))]
    rows = [*rows_of(samples), *rows_of(odd)]
    assert members_of(rows, table) == expected
    assert b'"undecoded":["' in expected[-4]
    assert expected[-3] == b""
    assert members_of(rows, None) == [b""] * len(rows)
