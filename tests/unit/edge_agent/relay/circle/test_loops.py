"""A relay that runs in a circle is found; frames that repeat themselves are none."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of, concatenate
from can_stream.logs.log_reader import open_log
from edge_agent.relay.burst import frame_keys
from edge_agent.relay.bus_load import bus_times_ns
from edge_agent.relay.circle.loops import MAX_OWN, MOST_IDS, MOST_RETURNED, LoopWatch, OwnOnBus
from tests.helpers.shared_data import KONA

MS = 1_000_000
SECOND = 1_000 * MS
BIT_RATE = 500_000
MAX_LOAD = 0.9


def numbered(numbers: Iterable[int], flags: int = 0) -> FrameBatch:
    return batch_of([(0, 0x123, flags, 8, number.to_bytes(8, "big")) for number in numbers])


class Side:
    """A bus to which frames are relayed, as its watch sees it."""

    def __init__(self, activation: str = "x-1", looped: str = "") -> None:
        self.kept: list[str] = []
        self.now_ns = 50 * SECOND
        self.watch = LoopWatch(MAX_LOAD, looped, self.kept.append)
        self.watch.begin(activation)

    def put(self, frames: FrameBatch) -> None:
        self.watch.put(frames, frame_keys(frames), int(bus_times_ns(frames, BIT_RATE).sum()), self.now_ns)

    def flow(self, per_second: int, seconds: float, distinct: int = 1 << 60) -> float | None:
        """So many frames in each second, `distinct` contents in turn; when a loop was found, None: never."""
        begin_ns, sent = self.now_ns, 0
        while self.now_ns < begin_ns + seconds * SECOND and not self.watch.found:
            due = int((self.now_ns - begin_ns) * per_second / SECOND) + 1
            if due > sent:
                self.put(numbered(number % distinct for number in range(sent, due)))
                sent = due
            self.now_ns += 10 * MS
        return (self.now_ns - begin_ns) / SECOND if self.watch.found else None


# -- own frames that others send


def test_twenty_own_frames_from_others_within_a_second_are_a_loop() -> None:
    side = Side()
    side.put(numbered(range(100)))
    side.now_ns += 20 * MS
    assert not side.watch.hear(numbered(range(MOST_RETURNED - 1)), side.now_ns)
    side.now_ns += 900 * MS
    assert side.watch.hear(numbered([50]), side.now_ns)
    assert side.watch.found.startswith("loop: ")
    assert side.kept == ["x-1"]
    assert not side.watch.hear(numbered([51]), side.now_ns), "it is told once"


def test_what_comes_back_later_than_a_second_is_no_loop() -> None:
    side = Side()
    side.put(numbered(range(100)))
    side.now_ns += SECOND
    assert not side.watch.hear(numbered(range(100)), side.now_ns)
    for number in range(0, 200, 2):  # nor are 19 in each second
        side.put(numbered([1_000 + number]))
        side.watch.hear(numbered([1_000 + number]), side.now_ns)
        side.now_ns += SECOND // (MOST_RETURNED - 2)
    assert not side.watch.found


def test_own_echoes_and_error_frames_are_nobodys() -> None:
    side = Side()
    side.put(numbered(range(100)))
    assert not side.watch.hear(numbered(range(100), FrameFlag.TX), side.now_ns)
    assert not side.watch.hear(numbered(range(100), FrameFlag.ERROR), side.now_ns)
    assert side.watch.hear(numbered(range(100)), side.now_ns), "those of others are"


def test_each_own_frame_is_found_once() -> None:
    side = Side()
    side.put(numbered([7] * (MOST_RETURNED - 1)))
    assert not side.watch.hear(numbered([7] * 500), side.now_ns)
    side.put(numbered([7]))
    assert side.watch.hear(numbered([7]), side.now_ns)


def test_own_frames_that_are_remembered_have_an_end() -> None:
    own = OwnOnBus()
    for number in range(3):
        own.put([b"%d %d" % (number, one) for one in range(MAX_OWN)], 0)
    own.put([b"last"], 0)
    assert len(own) <= MAX_OWN + 1
    assert own.find(b"last")
    assert not own.find(b"0 0")
    own.forget(SECOND)
    assert len(own) == 0


def test_others_of_other_ids_are_passed_over_and_too_many_ids_hide_nothing() -> None:
    side = Side()
    strange = batch_of([(0, 0x200, 0, 8, bytes(8))] * 100)
    side.put(numbered(range(100)))
    assert not side.watch.hear(strange, side.now_ns)
    for begin in range(0, 3 * MOST_IDS, 16):
        side.put(batch_of([(0, begin + row, FrameFlag.EXTENDED, 0, b"") for row in range(16)]))
    assert side.watch.hear(numbered(range(50)), side.now_ns)


# -- what runs away


def test_what_grows_to_three_times_its_base_and_fills_the_bus_is_a_loop() -> None:
    side = Side()
    assert side.flow(100, 15) is None
    found = side.flow(3_300, 5)
    assert found is not None
    assert found < 2
    assert side.kept == ["x-1"]


@pytest.mark.parametrize(
    ("base", "then"),
    [
        (1_500, 3_300),  # fills the bus, from half of it
        (100, 2_900),  # grows, and leaves room
        (3_300, 3_300),  # was full from the first second on
    ],
)
def test_what_only_grows_or_only_fills_the_bus_is_none(base: int, then: int) -> None:
    side = Side()
    assert side.flow(base, 13) is None
    assert side.flow(then, 6) is None


def test_a_circle_that_is_closed_before_the_base_is_known_is_found() -> None:
    side = Side()
    assert side.flow(100, 2) is None
    found = side.flow(3_300, 5, distinct=100)
    assert found is not None
    assert found < 3


def test_different_frames_that_fill_the_bus_early_are_no_circle() -> None:
    side = Side()
    assert side.flow(10, 2) is None
    assert side.flow(3_300, 6) is None


# -- what is honest


def split(drive: FrameBatch) -> list[Side]:
    """Each id has its nodes on one of two buses; the other bus has what is relayed, and echoes of it."""
    sides = [Side(), Side()]
    home = drive.arbitration_id.astype(int) % 7 % 2
    for begin in range(0, len(drive), 16):
        part, where = drive[begin : begin + 16], home[begin : begin + 16]
        for at, side in enumerate(sides):
            side.now_ns = int(part.timestamp_ns[0])
            own = part[where != at]
            if len(own):
                side.put(own)
            back = part.flags | np.where(where != at, np.uint8(FrameFlag.TX), np.uint8(0))
            heard = FrameBatch(part.timestamp_ns, part.arbitration_id, back, part.length, part.data)
            side.watch.hear(heard, side.now_ns)
    return sides


def periodic(seconds: int) -> FrameBatch:
    """40 ids that repeat every 10 to 100 ms, a few of them with counters."""
    rows = []
    for one in range(40):
        period_ns = (10 + one % 10 * 10) * MS
        for number in range(seconds * SECOND // period_ns):
            counter = number % 16 if one % 12 == 0 else 0
            rows.append((number * period_ns + one, 0x100 + one, 0, 8, bytes([counter] * 8)))
    return batch_of(sorted(rows))


def assert_honest(drive: FrameBatch) -> None:
    sides = split(drive)
    assert [side.watch.found for side in sides] == ["", ""]
    # Where it comes back, it is a loop.
    assert [side.watch.hear(drive[-100:], side.now_ns) for side in sides] == [True, True]


def test_periodic_traffic_both_ways_is_no_loop() -> None:
    assert_honest(periodic(15))


@pytest.mark.recorded
def test_a_recorded_drive_both_ways_is_no_loop() -> None:
    assert_honest(concatenate([batch.frames for batch in open_log(KONA)]))


# -- for how long


def test_it_holds_for_the_activation_and_over_a_restart() -> None:
    side = Side()
    side.put(numbered(range(100)))
    side.watch.hear(numbered(range(100)), side.now_ns)
    found = side.watch.found
    side.watch.begin("x-1")
    assert side.watch.found == found
    side.watch.begin("x-2")
    assert not side.watch.found
    assert not side.watch.hear(numbered(range(100)), side.now_ns), "what was put for another is forgotten"
    side.watch.begin("x-1")
    assert side.watch.found.startswith("loop: ")
    assert Side("x-1", looped="x-1").watch.found.startswith("loop: ")
    assert not Side("x-2", looped="x-1").watch.found
