"""The rules of docs/sse.md under random schedules: ids, ring, resume, stream_reset and the books."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch
from can_stream.text.frame_json import FrameOrigin, can_frame_json, rows_of
from stream_server.moment import Moment
from stream_server.streams.console import ConsoleStream, Cursor, StreamLimits
from stream_server.streams.event_ids import IdSource
from stream_server.streams.ring import RingLimits
from stream_server.streams.sampler import Sampler
from stream_server.streams.sse_format import (
    RequestError,
    accepts_event_stream,
    choose_last_event_id,
    parse_event_id,
    parse_history,
)
from stream_server.streams.subject import of_dongle
from tests.helpers.sse_streams import CAN0, WALL_US, Event, books, counted, frames, parse_events

DAY_US = 86_400_000_000


class RecordingIds(IdSource):
    """Remembers every id it issues."""

    def __init__(self, wall_us: int, stored: int, issued: list[int]) -> None:
        super().__init__(wall_us, stored)
        self.issued = issued

    def next_after(self, last: int, wall_us: int) -> int:
        self.issued.append(super().next_after(last, wall_us))
        return self.issued[-1]


class Server:
    """One server over its restarts: what survives is the stored reservation and the true presence."""

    def __init__(self) -> None:
        self.wall_us = WALL_US
        self.seconds = 0.0
        self.stored = 0
        self.presence = 0
        self.issued: list[int] = []
        self.start()

    def start(self) -> None:
        self.ids = RecordingIds(self.wall_us, self.stored, self.issued)
        assert not self.issued or self.ids.start > self.issued[-1]
        self.reserve()
        limits = StreamLimits(RingLimits(events=6, seconds=60), max_frames_per_second=10)
        self.stream = ConsoleStream(of_dongle("van7-can0"), self.ids, limits, lambda stream: None)
        self.set_presence()

    def reserve(self) -> None:
        value = self.ids.needs_reservation(self.wall_us)
        if value is not None:
            self.stored = value
            self.ids.reserved(value)

    def now(self) -> Moment:
        return Moment(self.seconds, self.wall_us)

    def set_presence(self) -> None:
        self.stream.set_presence({"dongle_id": "van7-can0", "value": self.presence}, self.now())

    def tick(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall_us += int(seconds * 1_000_000)
        self.reserve()
        self.stream.tick(self.now())


@dataclass
class Client:
    """Checks ids, presence and its own sum as docs/sse.md tells a client to."""

    server: Server
    last: int | None = None
    cursor: Cursor | None = None
    base: int | None = None
    total: int = 0
    presence: Any = None

    def connect(self) -> None:
        text = None if self.last is None else str(self.last)
        if text is None:
            self.base = None
        self.cursor = self.server.stream.open(text, 0, self.server.now())

    def read(self) -> None:
        assert self.cursor is not None
        while self.server.stream.has_more(self.cursor):
            for event in parse_events(self.server.stream.read(self.cursor, 400)):
                self.take(event)

    def take(self, event: Event) -> None:
        if event.event == "stream_reset":
            assert event.event_id is not None
            self.last, self.base = event.event_id, None
        elif event.event_id is not None:
            assert self.last is None or event.event_id > self.last
            if self.last is not None:
                assert not [one for one in self.server.issued if self.last < one < event.event_id]
            self.last = event.event_id
        if event.event == "can_frame":
            self.total += event.payload["count"]
        elif event.event == "presence":
            self.presence = event.payload.get("value")
            if self.base is None:
                self.base, self.total = books(event.payload), 0
            assert self.total == books(event.payload) - self.base


ACTIONS = "frames frames frames tick tick flood idle clock connect connect drop read read presence restart"
steps = st.lists(st.tuples(st.sampled_from(ACTIONS.split(" ")), st.integers(1, 5)), max_size=60)


def act(server: Server, action: str, size: int) -> None:
    if action == "frames":
        server.stream.offer_body(frames(range(size)), CAN0, server.seconds)
    elif action == "flood":
        server.stream.offer_body(frames([7] * 30 + list(range(size))), CAN0, server.seconds)
    elif action == "tick":
        server.tick(0.05 * size)
    elif action == "idle":
        server.tick(20.0 * size)
    elif action == "clock":
        server.wall_us += (-DAY_US, -20, 3_000_000, DAY_US, 1)[size - 1]
    elif action == "presence":
        server.presence += 1
        server.set_presence()
    elif action == "restart":
        server.start()


@given(steps)
@settings(max_examples=400, deadline=None)
def test_no_schedule_breaks_ids_resume_or_books(schedule: list[tuple[str, int]]) -> None:
    server = Server()
    client = Client(server)
    for action, size in schedule:
        act(server, action, size)
        if action in {"drop", "restart"}:
            client.cursor = None
        elif action == "connect" and client.cursor is None:
            client.connect()
        elif action == "read" and client.cursor is not None:
            client.read()
            assert client.presence == server.presence
    if client.cursor is None:
        client.connect()
    client.read()
    for _ in range(32):  # all that is pending goes out, and the state is repeated with its books
        server.tick(1.0)
        client.read()
    assert client.presence == server.presence
    assert client.last == server.stream.last_id
    assert server.issued == sorted(set(server.issued))


@given(st.integers(0, WALL_US * 2), st.integers(0, WALL_US * 2), st.lists(st.integers(-DAY_US, DAY_US)))
def test_ids_increase_stay_below_what_is_stored_and_survive_any_clock(
    wall_us: int, stored: int, clock_steps: list[int]
) -> None:
    ids = IdSource(wall_us, stored)
    reservation = ids.needs_reservation(wall_us)
    assert reservation is not None
    ids.reserved(reservation)
    last = ids.start
    for number, step in enumerate(clock_steps):
        wall_us = max(0, wall_us + step)
        issued = ids.next_after(last, wall_us)
        assert last < issued < reservation
        last = issued
        renewed = ids.needs_reservation(wall_us)
        if renewed is not None and number % 2:
            reservation = renewed
            ids.reserved(renewed)
    assert IdSource(0, reservation).start > last


@given(st.text())
def test_any_last_event_id_is_a_number_or_none(text: str) -> None:
    value = parse_event_id(text)
    assert value is None or (str(value) == (text.lstrip("0") or "0") and len(text) <= 20)


@given(st.text(), st.text(), st.text())
def test_any_request_is_read_or_refused_with_the_documented_error(one: str, two: str, three: str) -> None:
    choose_last_event_id(one, two)
    accepts_event_stream(three)
    with contextlib.suppress(RequestError):
        assert parse_history(one) >= 0


def batches() -> st.SearchStrategy[FrameBatch]:
    def build(count: int, seed: int, wide: bool) -> FrameBatch:
        random = np.random.default_rng(seed)
        width = 64 if wide else 8
        return FrameBatch(
            random.integers(-(2**63), 2**63 - 1, count, np.int64),
            random.integers(0, 2**29, count, np.uint32),
            random.integers(0, 128, count, np.uint8),
            random.integers(0, width + 1, count, np.uint8),
            random.integers(0, 256, (count, width), np.uint8),
        )

    return st.builds(build, st.integers(0, 60), st.integers(0, 2**32), st.booleans())


@given(batches(), st.text(max_size=8), st.text(max_size=8))
def test_any_frame_becomes_one_line_of_json_with_its_data(batch: FrameBatch, dongle: str, bus: str) -> None:
    for row in rows_of(batch):
        line = can_frame_json(row, FrameOrigin(dongle, bus), 3)
        assert b"\n" not in line
        assert b"\r" not in line
        frame = msgspec.json.decode(line)
        assert bytes.fromhex(frame["data_hex"]) == row.data
        assert int(frame["id"], 16) == row.arbitration_id
        assert (frame["dongle_id"], frame["bus"], frame["count"]) == (dongle, bus, 3)


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 40), max_size=60), st.sampled_from((0.01, 0.05, 0.3)))),
    st.integers(1, 50),
)
@settings(deadline=None)
def test_a_sampler_keeps_its_books_and_its_limit(schedule: list[tuple[list[int], float]], limit: int) -> None:
    sampler = Sampler(limit)
    origin = FrameOrigin("van7-can0", "can0")
    now, shown, received = 0.0, [], dict.fromkeys(range(41), 0)
    for ids, pause in schedule:
        sampler.offer(frames([99, *ids]), origin, now)  # never silent: the limit must hold in every second
        for arbitration_id in ids:
            received[arbitration_id] += 1
        shown += [(now, frame) for frame in sampler.tick(now)]
        assert sampler.received == sampler.shown + sampler.pending
        assert sampler.shown == sum(frame.frames for _, frame in shown)
        assert sum(now - 1.0 < at for at, _ in shown) <= limit
        now += pause
    for _ in range(20):
        now += 0.05
        shown += [(now, frame) for frame in sampler.tick(now)]
    assert sampler.pending == 0
    for arbitration_id, total in received.items():
        own = [frame for _, frame in shown if frame.row.arbitration_id == arbitration_id]
        assert sum(frame.frames for frame in own) == total
        assert [frame.order for frame in own] == sorted(frame.order for frame in own)


@given(st.lists(st.integers(1, 12), max_size=30))
def test_resumed_clients_read_what_an_uninterrupted_one_does(piece_sizes: list[int]) -> None:
    server = Server()
    cursor = server.stream.open(None, 0, server.now())
    server.stream.read(cursor, 1)
    whole, cut = Cursor(cursor.position), Cursor(cursor.position)
    expected: list[Event] = []
    got: list[Event] = []
    for number in piece_sizes[:6]:
        server.stream.emit("log", {"text": "x" * number}, server.now())
    expected += parse_events(server.stream.read(whole, 1 << 20))
    for number in piece_sizes:
        got += parse_events(server.stream.read(cut, number))
        cut = server.stream.open(str(cut.position), 0, server.now())
    assert got == expected
    assert counted(got) == 0
