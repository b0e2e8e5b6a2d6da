"""What the tests of the console share: frames, streams on made-up clocks, and a reader of SSE bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from can_stream.frames.batches import FrameBatch, batch_of
from can_stream.text.frame_json import FrameOrigin
from stream_server.moment import Moment
from stream_server.streams.console import ConsoleStream, StreamLimits
from stream_server.streams.event_ids import IdSource
from stream_server.streams.ring import RingLimits
from stream_server.streams.subject import of_dongle

WALL_US = 1_766_417_462_000_000
CAN0 = FrameOrigin("van7-can0", "can0")


def frames(ids: Iterable[int], flags: int = 0, first_ns: int = WALL_US * 1000) -> FrameBatch:
    """One frame per id, its number of the batch as data."""
    return batch_of(
        (first_ns + number * 1_000_000, arbitration_id, flags, 2, number.to_bytes(2, "big"))
        for number, arbitration_id in enumerate(ids)
    )


def make_stream(
    start: int = WALL_US,
    max_frames_per_second: int | None = 200,
    ring: RingLimits | None = None,
) -> ConsoleStream:
    ids = IdSource(start)
    reservation = ids.needs_reservation(start)
    assert reservation is not None
    ids.reserved(reservation)
    limits = StreamLimits(ring or RingLimits(), max_frames_per_second)
    return ConsoleStream(of_dongle("van7-can0"), ids, limits, lambda stream: None)


def moment(seconds: float) -> Moment:
    return Moment(seconds, WALL_US + int(seconds * 1_000_000))


@dataclass(frozen=True)
class Event:
    event_id: int | None
    event: str
    payload: dict[str, Any]


def parse_events(data: bytes) -> list[Event]:
    """The events of a body as an EventSource would dispatch them; comments and `retry` are skipped."""
    found = []
    for block in data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            event_id = int(fields["id"]) if "id" in fields else None
            found.append(Event(event_id, fields["event"], json.loads(fields["data"])))
    return found


def counted(events: Iterable[Event]) -> int:
    return sum(event.payload["count"] for event in events if event.event == "can_frame")


def books(payload: dict[str, Any]) -> int:
    return int(payload["frames_received"] - payload["frames_pending"])
