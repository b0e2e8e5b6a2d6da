"""A source is kept read: frames arrive in order, failures are told and mended, nothing ends silently."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from queue import Empty, SimpleQueue

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pytest_mock import MockerFixture

from can_stream.frames.batches import FrameBatch, batch_of, empty_batch
from edge_agent.bus.frame_queue import FrameQueue, QueueCounts
from edge_agent.bus.reader import ReaderLimits, SourceReader
from edge_agent.bus.source import Dropped, Item
from edge_agent.errors import SourceEndedError, SourceError
from edge_agent.host.backoff import BackoffPolicy
from edge_agent.state import State, StatusCode
from tests.helpers.conditions import eventually

Step = FrameBatch | BaseException | threading.Event


def frames(first: int, count: int) -> FrameBatch:
    return batch_of((stamp, 1, 0, 0, b"") for stamp in range(first, first + count))


class Bus:
    """A source that gives what the test puts into it; an Event is a driver that hangs until it is set."""

    info = "a test bus"

    def __init__(self, steps: SimpleQueue[Step], *, can_wait: bool = False) -> None:
        self.steps = steps
        self.can_wait = can_wait
        self.malformed = 1
        self.closed = False

    def read(self, timeout_seconds: float) -> FrameBatch:
        try:
            step = self.steps.get(timeout=timeout_seconds)
        except Empty:
            return empty_batch()
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, threading.Event):
            step.wait()
            return empty_batch()
        return step

    def close(self) -> None:
        self.closed = True


class Bench:
    """A reader on a Bus, with everything it told."""

    def __init__(self, limits: ReaderLimits, *, can_wait: bool = False) -> None:
        self.steps: SimpleQueue[Step] = SimpleQueue()
        self.opened: list[Bus] = []
        self.failures_at_open: list[Exception] = []
        self.states: list[State] = []
        self.told = asyncio.Event()
        self.can_wait = can_wait
        self.bus = Bus
        self.reader = SourceReader("van7-can0", self.open, self.on_state, limits)

    def open(self) -> Bus:
        if self.failures_at_open:
            raise self.failures_at_open.pop(0)
        self.opened.append(self.bus(self.steps, can_wait=self.can_wait))
        return self.opened[-1]

    def on_state(self, state: State) -> None:
        self.states.append(state)
        self.told.set()

    async def until(self, code: StatusCode) -> State:
        while self.states[-1].code != code:
            self.told.clear()
            await self.told.wait()
        return self.states[-1]


UNPLUGGED = SourceError("READ_FAILED", "unplugged")
LIMITS = ReaderLimits(read_timeout_seconds=0.02, hang_read_seconds=0.3, beat_seconds=0.005)


@asynccontextmanager
async def bench(limits: ReaderLimits = LIMITS, *, can_wait: bool = False) -> AsyncIterator[Bench]:
    made = Bench(limits, can_wait=can_wait)
    yield made
    await made.reader.stop()


def stamps_of(items: list[Item]) -> list[int]:
    return [int(stamp) for item in items if isinstance(item, FrameBatch) for stamp in item.timestamp_ns]


async def read_frames(reader: SourceReader, count: int) -> list[Item]:
    items: list[Item] = []
    while len(stamps_of(items)) < count:
        items += await reader.read()
    return items


async def test_frames_arrive_in_order_and_are_counted() -> None:
    async with bench() as test:
        for first in range(0, 100, 10):
            test.steps.put(frames(first, 10))
        test.reader.start()
        assert stamps_of(await read_frames(test.reader, 100)) == list(range(100))
        counts = test.reader.counts
        assert (counts.read, counts.waiting) == (100, 0)
        assert set(counts.lost.values()) == {0}
        assert [state.code for state in test.states] == [StatusCode.STARTING, StatusCode.OK]


async def test_a_busy_bus_is_read_on_the_beat_but_the_first_frame_passes_at_once() -> None:
    async with bench(ReaderLimits(beat_seconds=60)) as test:
        test.steps.put(frames(0, 1))
        test.steps.put(frames(1, 1))
        test.reader.start()
        assert stamps_of(await test.reader.read()) == [0]
        await asyncio.sleep(0.05)
        assert test.steps.qsize() == 1


class PatientBus(Bus):
    """A source whose driver keeps frames for a minute."""

    patience_seconds = 60.0


async def test_a_source_that_knows_how_long_it_can_wait_is_left_alone_for_so_long() -> None:
    async with bench() as test:
        test.bus = PatientBus
        test.steps.put(frames(0, 1))
        test.steps.put(frames(1, 1))
        test.reader.start()
        assert stamps_of(await test.reader.read()) == [0]
        await asyncio.sleep(10 * LIMITS.beat_seconds)
        assert test.steps.qsize() == 1


async def test_who_hurries_gets_what_comes_without_a_beat_also_in_the_middle_of_one() -> None:
    async with bench(ReaderLimits(beat_seconds=60)) as test:
        test.steps.put(frames(0, 1))
        test.reader.start()
        await test.reader.read()
        test.steps.put(frames(1, 1))
        assert await test.reader.read_within(0.05) is None, "it rests for a minute"
        test.reader.hurry(60.0)
        for number in range(1, 5):
            (item,) = await test.reader.read()
            assert isinstance(item, FrameBatch)
            assert item.timestamp_ns.tolist() == [number]
            test.steps.put(frames(number + 1, 1))


class WritableBus(Bus):
    """One that somebody may write to."""

    writer = "who writes to it"


async def test_each_opening_has_a_writer_of_its_own_where_anybody_may_write() -> None:
    async with bench() as test:
        test.reader.start()
        await test.until(StatusCode.OK)
        assert test.reader.writer is None
        test.bus = WritableBus
        test.steps.put(SourceError("DOWN", "can0 is down"))
        await test.until(StatusCode.FAILED)
        assert test.reader.writer is None
        test.reader.try_now()
        await test.until(StatusCode.OK)
        assert test.reader.writer == "who writes to it"


async def test_no_beat_is_longer_than_is_of_use() -> None:
    async with bench() as test:
        test.bus = PatientBus
        test.reader.beats.longest_seconds = 0.001
        for stamp in range(5):
            test.steps.put(frames(stamp, 1))
        test.reader.start()
        assert stamps_of(await read_frames(test.reader, 5)) == [0, 1, 2, 3, 4]


async def test_reading_within_a_time_gives_none_when_nothing_has_come() -> None:
    async with bench() as test:
        test.reader.start()
        assert await test.reader.read_within(0.01) is None
        test.steps.put(frames(0, 1))
        while (items := await test.reader.read_within(0.01)) is None:
            pass
        assert stamps_of(items) == [0]
        test.steps.put(SourceEndedError("the log has ended"))
        while (items := await test.reader.read_within(None)) is None:
            pass
        assert items == []
        assert await test.reader.read_within(60) == []


async def test_a_silent_bus_is_no_fault() -> None:
    async with bench() as test:
        test.reader.start()
        await test.until(StatusCode.OK)
        await asyncio.sleep(2 * LIMITS.hang_read_seconds)
        assert test.reader.state.code == StatusCode.OK
        test.steps.put(frames(0, 1))
        assert stamps_of(await test.reader.read()) == [0]


async def test_a_missing_device_is_told_with_its_remedy_and_opened_when_it_is_there() -> None:
    async with bench() as test:
        test.failures_at_open = [SourceError("NO_DEVICE", "can0 is not there", "plug it in")] * 2
        test.reader.start()
        assert (await test.until(StatusCode.FAILED)).message == "can0 is not there: plug it in"
        await test.until(StatusCode.OK)
        assert [state.code for state in test.states] == [
            StatusCode.STARTING,
            StatusCode.FAILED,
            StatusCode.OK,
        ]


async def test_what_has_failed_is_tried_at_once_when_there_is_hope(mocker: MockerFixture) -> None:
    mocker.patch("edge_agent.bus.reader.DEVICE_POLICY", BackoffPolicy(1e6, 1e6))
    async with bench() as test:
        test.failures_at_open = [SourceError("NO_DEVICE", "can0 is not there")]
        test.reader.start()
        await test.until(StatusCode.FAILED)
        test.reader.try_now()
        await test.until(StatusCode.OK)


async def test_what_has_failed_is_stopped_at_once(mocker: MockerFixture) -> None:
    mocker.patch("edge_agent.bus.reader.DEVICE_POLICY", BackoffPolicy(1e6, 1e6))
    async with bench(replace(LIMITS, hang_read_seconds=60)) as test:
        test.failures_at_open = [SourceError("NO_DEVICE", "can0 is not there")]
        test.reader.start()
        await test.until(StatusCode.FAILED)
        async with asyncio.timeout(30):
            await test.reader.stop()
        assert test.states[-1].code is StatusCode.STOPPED


async def test_a_remark_is_said_while_a_source_is_read() -> None:
    async with bench() as test:
        test.failures_at_open = [SourceError("NO_DEVICE", "can0 is not there")]
        test.reader = SourceReader(
            "van7-can0", test.open, test.on_state, LIMITS, remark=lambda: "the adapter A1"
        )
        test.reader.start()
        failed, reading = await test.until(StatusCode.FAILED), await test.until(StatusCode.OK)
        assert (failed.message, reading.message) == (
            "can0 is not there",
            "reading a test bus; the adapter A1",
        )


async def test_failures_that_are_over_at_once_are_told_each_in_its_turn(mocker: MockerFixture) -> None:
    mocker.patch("edge_agent.bus.reader.DEVICE_POLICY", BackoffPolicy(base_seconds=1e-9))
    async with bench() as test:
        test.failures_at_open = [SourceError("NO_DEVICE", f"failure {number}") for number in range(20)]
        test.reader.start()
        while not test.opened:  # keeps the event loop from hearing of any before the last is over
            threading.Event().wait(0.001)
        await test.until(StatusCode.OK)
        told = [state.message for state in test.states if state.code is StatusCode.FAILED]
        assert told == [f"failure {number}" for number in range(20)]


@pytest.mark.parametrize(
    "failure", [UNPLUGGED, ZeroDivisionError("driver bug"), RuntimeError(), SystemExit(1)]
)
async def test_whatever_a_driver_raises_it_is_closed_told_and_opened_again(failure: BaseException) -> None:
    async with bench() as test:
        for step in (frames(0, 2), failure, frames(2, 2)):
            test.steps.put(step)
        test.reader.start()
        assert stamps_of(await read_frames(test.reader, 4)) == [0, 1, 2, 3]
        assert [one.closed for one in test.opened] == [True, False]
        codes = [state.code for state in test.states]
        assert codes == [StatusCode.STARTING, StatusCode.OK, StatusCode.FAILED, StatusCode.OK]
        assert test.reader.malformed == 2


async def test_a_driver_that_hangs_is_told_and_told_again_when_it_is_back() -> None:
    async with bench() as test:
        hang = threading.Event()
        test.steps.put(hang)
        test.reader.start()
        await test.until(StatusCode.OK)
        failed = await test.until(StatusCode.FAILED)
        assert "has not returned" in failed.message
        assert "unplug" in failed.message
        hang.set()
        await test.until(StatusCode.OK)


async def test_stop_leaves_a_hanging_driver_behind() -> None:
    async with bench() as test:
        hang = threading.Event()
        test.steps.put(hang)
        test.reader.start()
        await test.until(StatusCode.OK)
        await test.until(StatusCode.FAILED)
        await test.reader.stop()
        assert await test.reader.read() == []
        hang.set()


async def test_stop_closes_the_device_and_gives_out_what_was_read() -> None:
    async with bench() as test:
        test.steps.put(frames(0, 3))
        test.steps.put(UNPLUGGED)
        test.reader.start()
        await test.until(StatusCode.FAILED)
        await test.reader.stop()
        assert stamps_of(await test.reader.read()) == [0, 1, 2]
        assert await test.reader.read() == []
        assert test.opened[0].closed
        assert test.states[-1].code == StatusCode.STOPPED


async def test_a_source_that_ends_says_so_once_all_is_taken() -> None:
    async with bench() as test:
        test.steps.put(frames(0, 3))
        test.steps.put(SourceEndedError("played to its end"))
        test.reader.start()
        assert stamps_of(await read_frames(test.reader, 3)) == [0, 1, 2]
        assert await test.reader.read() == []
        assert test.states[-1] == State(StatusCode.STOPPED, "played to its end")


async def test_what_the_queue_cannot_hold_is_counted_in_its_place() -> None:
    async with bench(ReaderLimits(queue_frames=5, beat_seconds=0, read_timeout_seconds=0.02)) as test:
        for first in (0, 4, 8):
            test.steps.put(frames(first, 4))
        test.steps.put(UNPLUGGED)
        test.reader.start()
        await test.until(StatusCode.FAILED)
        items = await test.reader.read()
        assert items[-1] == Dropped(7, 5, 11, "queue")
        assert stamps_of(items) == [0, 1, 2, 3, 4]
        test.steps.put(frames(12, 1))
        assert stamps_of(await test.reader.read()) == [12]
        assert test.reader.counts == QueueCounts(13, {"driver": 0, "kernel": 0, "queue": 7}, 0)


async def test_a_source_that_can_wait_loses_nothing() -> None:
    limits = ReaderLimits(queue_frames=5, beat_seconds=60, read_timeout_seconds=0.02)
    async with bench(limits, can_wait=True) as test:
        for first in range(0, 400, 4):
            test.steps.put(frames(first, 4))
        test.reader.start()
        assert stamps_of(await read_frames(test.reader, 400)) == list(range(400))
        assert (test.reader.counts.read, test.reader.counts.lost["queue"]) == (400, 0)


@given(st.lists(st.integers(0, 12) | st.just(-1), max_size=30), st.integers(1, 20))
def test_every_frame_is_in_the_queue_or_in_a_count(steps: list[int], limit: int) -> None:
    queue, put, items = FrameQueue(limit), 0, list[Item]()
    for step in [*steps, -1]:
        if step == -1:
            taken = queue.take_items()
            assert len(stamps_of(taken)) <= limit
            items += taken
        elif step:
            queue.put(frames(put, step))
            put += step
    accounted: list[int] = []
    for item in items:
        if isinstance(item, Dropped):
            assert item.last_ns - item.first_ns + 1 == item.frames
            accounted += range(item.first_ns, item.last_ns + 1)
        else:
            accounted += item.timestamp_ns.tolist()
    assert accounted == np.arange(put).tolist()
    counts = queue.counts()
    assert counts.read == put == len(stamps_of(items)) + counts.lost["queue"] + counts.waiting


async def test_a_source_that_another_finds_dead_is_opened_again() -> None:
    async with bench() as test:
        test.reader.start()
        await test.until(StatusCode.OK)
        test.reader.reopen(SourceError("DEAD", "it is deaf"))
        assert await test.until(StatusCode.FAILED) == State(StatusCode.FAILED, "it is deaf", "dead_driver")
        await test.until(StatusCode.OK)
        test.steps.put(frames(0, 3))
        assert stamps_of(await read_frames(test.reader, 3)) == [0, 1, 2]
        assert [bus.closed for bus in test.opened] == [True, False]


class AgedBus(Bus):
    """Says for each read that its driver was last found empty then, one later each time."""

    reads = 0

    @property
    def born_ns(self) -> int:
        return 1_000 + self.reads

    def read(self, timeout_seconds: float) -> FrameBatch:
        found = super().read(timeout_seconds)
        self.reads += bool(len(found))
        return found


async def test_what_is_taken_is_as_old_as_the_oldest_of_it() -> None:
    async with bench() as test:
        test.bus = AgedBus
        for first in range(3):
            test.steps.put(frames(first, 1))
        test.reader.start()
        await asyncio.to_thread(eventually, lambda: test.reader.counts.waiting == 3, "all three are read")
        assert stamps_of(await test.reader.read()) == [0, 1, 2]
        assert test.reader.born_ns == 1_001
        test.steps.put(frames(3, 1))
        assert stamps_of(await read_frames(test.reader, 1)) == [3]
        assert test.reader.born_ns == 1_004


async def test_of_a_source_that_does_not_know_it_the_age_is_unknown() -> None:
    async with bench() as test:
        test.steps.put(frames(0, 1))
        test.reader.start()
        assert stamps_of(await read_frames(test.reader, 1)) == [0]
        assert test.reader.born_ns == 0


async def test_a_job_in_the_source_comes_before_what_is_read_after_it() -> None:
    async with bench() as test:
        test.failures_at_open.append(UNPLUGGED)
        seen: list[tuple[str, int]] = []
        done = asyncio.Event()

        def told() -> None:
            seen.append(("told", test.reader.counts.read))
            done.set()

        test.reader.in_source(lambda _: seen.append(("done", test.reader.counts.read)), told)
        test.steps.put(frames(0, 1))
        test.reader.start()
        await done.wait()
        assert seen[0] == ("done", 0), "with the next source, before it is read"
        assert stamps_of(await read_frames(test.reader, 1)) == [0]
        done.clear()
        test.reader.in_source(lambda _: seen.append(("done", test.reader.counts.read)), told)
        await done.wait()
        assert seen[2:] == [("done", 1), ("told", 1)], "of a silent bus too"


async def test_a_job_that_fails_is_told_and_the_source_is_opened_again() -> None:
    async with bench() as test:
        done = asyncio.Event()

        def fail(_: object) -> None:
            raise UNPLUGGED

        test.reader.start()
        await test.until(StatusCode.OK)
        test.reader.in_source(fail, done.set)
        await done.wait()
        await test.until(StatusCode.FAILED)
        test.steps.put(frames(0, 1))
        test.reader.try_now()
        assert stamps_of(await read_frames(test.reader, 1)) == [0]
        assert len(test.opened) == 2


async def test_frames_that_must_not_wait_are_read_without_a_beat() -> None:
    async with bench(replace(LIMITS, beat_seconds=30.0)) as test:
        test.reader.beats.is_prompt = True
        test.reader.start()
        for first in range(5):
            test.steps.put(frames(first, 1))
            assert stamps_of(await asyncio.wait_for(read_frames(test.reader, 1), 20)) == [first]


async def test_a_fault_of_the_reader_itself_is_told_to_whoever_reads_behind_the_last_frame(
    mocker: MockerFixture,
) -> None:
    """Else it would look like a log that is played."""
    async with bench() as test:
        mocker.patch.object(test.reader, "_failed", side_effect=RuntimeError("a fault of ours"))
        test.steps.put(frames(0, 3))
        test.steps.put(UNPLUGGED)
        test.reader.start()
        assert stamps_of(await read_frames(test.reader, 3)) == [0, 1, 2]
        with pytest.raises(RuntimeError, match="a fault of ours"):
            await test.reader.read()


async def test_where_nobody_watches_the_driver_any_more_that_is_told_too(mocker: MockerFixture) -> None:
    async with bench() as test:
        test.reader.start()
        await test.until(StatusCode.OK)
        mocker.patch.object(test.reader, "_tell", side_effect=RuntimeError("a fault of ours"))
        with pytest.raises(RuntimeError, match="a fault of ours"):
            await test.reader.read()
        mocker.stopall()
