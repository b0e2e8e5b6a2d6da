"""The live frames and values of one console: what a tick appends, and how the word of sampling is put."""

from __future__ import annotations

import json
from typing import Any

from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import encode_frames
from can_stream.signals.table import SignalTable
from stream_server.moment import Moment
from stream_server.streams.live_traffic import LiveTraffic
from tests.helpers.server_parts import values
from tests.helpers.signal_tables import gear_table
from tests.helpers.sse_streams import CAN0, frames, moment

Events = list[tuple[str, dict[str, Any]]]


def traffic(limit: int | None, table: SignalTable | None = None) -> tuple[LiveTraffic, Events]:
    """A console's traffic and what it appends."""
    events: Events = []

    def append(event: str, payload: bytes, _now: Moment) -> None:
        events.append((event, json.loads(payload)))

    return LiveTraffic(["van7-can0"], limit, append, lambda _hash: table), events


def run(live: LiveTraffic, per_tick: int, first: float, seconds: float) -> None:
    """Ticks of 50 ms, with so many frames of one id in each."""
    for step in range(round(seconds / 0.05)):
        now = moment(first + step * 0.05)
        live.offer_body(frames([1] * per_tick), CAN0, now.seconds)
        live.show(now)


def logs(events: Events) -> list[str]:
    return [payload["message"] for event, payload in events if event == "log"]


def test_the_word_of_sampling_says_how_much_is_shown_and_when_all_is_again() -> None:
    live, events = traffic(20)
    run(live, per_tick=5, first=0.0, seconds=3.0)
    run(live, per_tick=0, first=3.0, seconds=6.0)
    assert logs(events) == [
        "the console shows 19 of 100 frames/s; `count` says how many each stands for",
        "the console shows every frame again",
    ]
    assert sum(payload["count"] for event, payload in events if event == "can_frame") == 300


def test_of_values_the_newest_stay_and_the_word_says_so() -> None:
    live, events = traffic(10, gear_table())
    for step in range(60):
        now = moment(step * 0.05)
        for number in range(5):
            live.offer_body(values(step * 5 + number, 0, 1), CAN0, now.seconds)
        live.show(now)
    (said,) = logs(events)
    assert said.endswith("frames/s; of each signal the newest value stays")


def test_marks_hold_for_what_is_shown_while_the_clock_is_wrong() -> None:
    live, events = traffic(None, gear_table())
    for synchronised in (True, False, True):
        live.set_clock("van7-can0", synchronised=synchronised)
        live.offer_body(frames([0x100]), CAN0, 0.0)
        live.offer_body(values(1, 1), CAN0, 0.0)
        live.show(moment(0.0))
    marks = [(event, payload.get("clock_synchronised")) for event, payload in events]
    assert marks == [(event, mark) for mark in (None, False, None) for event in ("can_frame", "signals")], (
        "and never that it is right"
    )


def test_what_is_skipped_counts_as_shown_and_values_that_wait_are_gone() -> None:
    live, events = traffic(10, gear_table())
    live.offer_body(frames([1, 2, 3] * 10), CAN0, 0.0)
    live.offer_body(values(1, 0), CAN0, 0.0)
    live.skip(100)
    live.show(moment(0.0))
    assert events == []
    assert (live.frames.received, live.frames.pending) == (130, 0)


def test_a_packet_is_shown_as_the_frames_in_it_are() -> None:
    shown = []
    batch = frames([1, 2])
    for as_packet in (True, False):
        live, events = traffic(None)
        if as_packet:
            live.offer_packet(encode_frames(PacketNumber("00" * 8, 1), batch, 1000), CAN0, 0.0)
        else:
            live.offer_body(batch, CAN0, 0.0)
        busy = [live.busy]
        live.show(moment(0.0))
        assert [*busy, live.busy] == [True, False]
        shown.append(events)
    assert shown[0] == shown[1]
    assert len(shown[0]) == 2


def test_no_frames_are_no_activity() -> None:
    live, events = traffic(None)
    live.offer_body(frames([]), CAN0, 0.0)
    live.show(moment(0.0))
    assert (live.busy, events) == (False, [])
