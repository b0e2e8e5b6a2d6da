"""A runner writes what its sink lets go, and tells it what comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.protocol.control import CanEmptyQueue, Confirms
from edge_agent.errors import SourceError
from edge_agent.host.clock import Clock
from edge_agent.relay.burst import Burst, Cut, frame_keys
from edge_agent.relay.bus_watch import BusWatch
from edge_agent.relay.circle.loops import MOST_RETURNED, LoopWatch
from edge_agent.relay.figures import BROKEN
from edge_agent.relay.running import BusRates, SinkRunner
from edge_agent.relay.sink import Sink
from edge_agent.relay.stopping import Switches, start, stop
from edge_agent.transmit.policy import TargetBus
from tests.helpers.conditions import running, soon
from tests.helpers.recording_sink import RecordingSink

_OTHERS = FrameFlag(0)


def frames(count: int, flag: FrameFlag = _OTHERS) -> FrameBatch:
    return FrameBatch(
        np.arange(count, dtype=np.int64),
        np.full(count, 0x123, np.uint32),
        np.full(count, flag, np.uint8),
        np.zeros(count, np.uint8),
        np.zeros((count, 8), np.uint8),
    )


class FakeBus:
    """A bus and its writer in one; `room` is how many frames its driver takes at once."""

    def __init__(self, confirms: Confirms = "bus", can_empty_queue: CanEmptyQueue = "counters") -> None:
        self.confirms: Confirms = confirms
        self.can_empty_queue: CanEmptyQueue = can_empty_queue
        self.written: list[int] = []
        self.room = 64
        self.is_up = True
        self.is_open = True
        self.opening = self
        self.fails: SourceError | None = None
        self.empty: bool | None = True
        self.reopened: list[SourceError] = []
        self.hurried = 0
        self.rates = BusRates(TargetBus(listen_only=False, fd=False), 500_000, None)

    @property
    def writer(self) -> FakeBus | None:
        return self.opening if self.is_open else None

    def hurry(self, _: float) -> None:
        self.hurried += 1

    def reopen(self, why: SourceError) -> None:
        self.reopened.append(why)

    def write(self, burst: FrameBatch) -> int:
        if self.fails is not None:
            raise self.fails
        self.written.append(min(self.room, len(burst)))
        return self.written[-1]

    def is_empty(self) -> bool | None:
        return self.empty


class Parts:
    def __init__(self, directory: Path, bus: FakeBus, enable_file: Path | None = None) -> None:
        self.bus, self.sink = bus, RecordingSink("van-a")
        self.reports = self.changes = 0
        self.stop_file = directory / "relay-stopped-van-a"
        self.runner = SinkRunner(
            cast(Sink, self.sink),
            bus,
            BusWatch(5.0, wake=False),
            Switches(self.stop_file, enable_file),
            Clock(),
            self._report,
            self._change,
        )

    def _report(self) -> None:
        self.reports += 1

    def _change(self) -> None:
        self.changes += 1

    async def until(self, condition: str, wake: bool = False) -> None:
        """Python that is true of `sink`, `bus` and `self` before long."""

        def look() -> object:
            if wake:
                self.runner.wake()
            return eval(condition, {"sink": self.sink, "bus": self.bus, "parts": self})

        await soon(look, condition)


async def test_one_burst_is_on_its_way_until_its_echo_has_come(tmp_path: Path) -> None:
    parts = Parts(tmp_path, FakeBus())
    parts.sink.bursts = [frames(1), frames(2)]
    async with running(parts.runner.run()):
        await parts.until("sink.of('written') == [1]")
        parts.runner.wake()
        await parts.until("len(sink.facts) >= 3", wake=True)
        assert parts.bus.written == [1]
        assert parts.bus.hurried == 1
        parts.runner.hear(frames(1, FrameFlag.TX))
        await parts.until("bus.written == [1, 2]")
    assert parts.sink.of("echoed") == [1]
    assert parts.reports


async def test_frames_of_others_are_no_echo_and_wake_the_bus(tmp_path: Path) -> None:
    parts = Parts(tmp_path, FakeBus())
    async with running(parts.runner.run()):
        await parts.until("sink.facts and sink.facts[-1].asleep")
        parts.runner.hear(frames(3))
        parts.sink.bursts = [frames(1)]
        await parts.until("bus.written == [1]", wake=True)
        assert not parts.sink.facts[-1].asleep
    assert parts.sink.of("echoed") == []


@pytest.mark.parametrize("by", ["stop", "enable_file"])
async def test_a_switch_that_is_pulled_holds_for_the_next_burst(tmp_path: Path, by: str) -> None:
    enable = tmp_path / "switch"
    enable.touch()
    parts = Parts(tmp_path, FakeBus("queue"), enable)
    parts.sink.bursts = [frames(1)]
    async with running(parts.runner.run()):
        await parts.until("bus.written == [1]")
        if by == "stop":
            stop(parts.stop_file)
        else:
            enable.unlink()
        parts.sink.bursts = [frames(2)]
        parts.runner.wake()
        await parts.until("parts.changes >= 2")
        assert parts.changes == 2
        assert parts.sink.facts[-1].disabled
        assert parts.bus.written == [1]
        start(parts.stop_file)
        enable.touch()
        await parts.until("bus.written == [1, 2]", wake=True)
        assert parts.runner.stopped == ""


async def test_a_queue_that_is_full_takes_the_rest_later(tmp_path: Path) -> None:
    parts = Parts(tmp_path, FakeBus("queue"))
    parts.bus.room = 2
    parts.sink.bursts = [frames(5), frames(1)]
    async with running(parts.runner.run()):
        await parts.until("sink.of('written') == [2, 1]")


async def test_a_writer_that_fails_has_taken_nothing_and_another_one_is_waited_for(tmp_path: Path) -> None:
    parts = Parts(tmp_path, FakeBus("queue"))
    parts.bus.fails = SourceError("WRITE_FAILED", "gone")
    parts.sink.bursts = [frames(1), frames(1)]
    async with running(parts.runner.run()):
        await parts.until("bus.reopened")
        assert parts.sink.of("written") == [0]
        parts.bus.fails = None
        await parts.until("not sink.facts[-1].is_up", wake=True)
        assert parts.bus.written == []
        parts.bus.is_open = False
        await parts.until("sink.facts[-1].confirms == 'none'", wake=True)
        assert not parts.sink.facts[-1].is_up


async def test_an_adapter_has_taken_what_it_has_answered(tmp_path: Path) -> None:
    parts = Parts(tmp_path, FakeBus("adapter"))
    parts.sink.bursts = [frames(3)]
    async with running(parts.runner.run()):
        await parts.until("bus.written == [3]")
        assert parts.sink.of("written") == []
        parts.runner.hear(frames(2, FrameFlag.TX))
        assert parts.sink.of("written") == []
        parts.runner.hear(frames(1, FrameFlag.TX))
        assert parts.sink.of("written") == [3]


@pytest.mark.parametrize("empty", [True, False, None])
async def test_after_trouble_the_queue_is_looked_at_until_it_is_known_to_be_empty(
    tmp_path: Path, empty: bool | None
) -> None:
    parts = Parts(tmp_path, FakeBus("queue"))
    parts.sink.is_full, parts.bus.empty = True, empty
    parts.sink.bursts = [frames(1)]
    async with running(parts.runner.run()):
        await parts.until("len(sink.facts) >= 3", wake=True)
        assert bool(parts.bus.written) is bool(empty)
        parts.bus.empty = True
        await parts.until("bus.written == [1]")


@pytest.mark.parametrize("where", ["echoed", "next_burst"])
async def test_a_fault_of_ours_ends_the_relay_to_the_bus_and_nothing_else(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(tmp_path, FakeBus())

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with running(parts.runner.run()):
        await parts.until("sink.facts")
        monkeypatch.setattr(parts.sink, where, fail)
        parts.runner.hear(frames(1, FrameFlag.TX))
        parts.runner.wake()
        await parts.until("'a fault of the agent' in parts.runner.stopped")
        monkeypatch.undo()
        parts.sink.bursts = [frames(1)]
        looks = len(parts.sink.facts)
        parts.runner.hear(frames(1))
        parts.runner.wake()
        await asyncio.sleep(0.1)
        assert len(parts.sink.facts) == looks
        assert parts.bus.written == []


async def test_that_a_bus_goes_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    parts = Parts(tmp_path, FakeBus("queue"))
    async with running(parts.runner.run()):
        await parts.until("parts.changes == 1")
        parts.bus.is_up = False
        parts.sink.bursts = [frames(1)]
        await parts.until("sink.facts and not sink.facts[-1].is_up", wake=True)
        assert parts.bus.written == []
        parts.bus.is_up = True
        await parts.until("bus.written == [1]", wake=True)


async def test_a_loop_that_is_heard_is_told_at_once(tmp_path: Path) -> None:
    parts = Parts(tmp_path, FakeBus())
    own = frames(1)
    for _ in range(MOST_RETURNED):
        parts.sink.loops.put(own, frame_keys(own), 0, Clock().boottime_ns())
    parts.runner.hear(frames(MOST_RETURNED - 1))
    assert parts.reports == 0
    parts.runner.hear(frames(1))
    assert parts.reports == 1


async def test_what_an_earlier_process_has_left_is_an_own_frame_that_proves_nothing(tmp_path: Path) -> None:
    parts = Parts(tmp_path, FakeBus())
    parts.sink.driver.late.leave(frame_keys(frames(1)) * 2)
    async with running(parts.runner.run()):
        await parts.until("sink.facts and sink.facts[-1].asleep")
        marked = parts.runner.hear(frames(3))
        assert marked.flags.tolist() == [FrameFlag.TX, FrameFlag.TX, 0]
        await parts.until("not sink.facts[-1].asleep", wake=True)  # the third is of somebody
    assert parts.sink.of("echoed") == []


async def test_what_is_open_as_the_bus_is_opened_again_comes_back_unmarked(tmp_path: Path) -> None:
    first, second = FakeBus(), FakeBus()
    parts = Parts(tmp_path, first)
    parts.sink.bursts = [frames(1)]
    async with running(parts.runner.run()):
        await parts.until("bus.written == [1]")
        parts.sink.driver.open(Burst("b", "00" * 8, Cut(frames(1), [0], [0], 1, []), "bus", 1 << 62))
        assert parts.runner.hear(frames(1)).flags.tolist() == [0]
        first.opening = second
        marked = parts.runner.hear(frames(2))  # before anybody has looked at the bus
        assert marked.flags.tolist() == [FrameFlag.TX, 0]


async def test_a_relay_that_is_broken_still_knows_what_is_its_own(tmp_path: Path) -> None:
    parts = Parts(tmp_path, FakeBus())
    parts.sink.driver.late.leave(frame_keys(frames(1)))
    parts.sink.loops = cast(LoopWatch, None)
    assert parts.runner.hear(frames(2)).flags.tolist() == [FrameFlag.TX, 0]
    assert parts.runner.stopped == BROKEN


async def test_a_bus_that_is_not_open_confirms_as_it_did_last(tmp_path: Path) -> None:
    """Else the way to it would be closed at each start, and what waits for it would be counted."""
    bus = FakeBus("bus")
    bus.is_open = bus.is_up = False
    parts = Parts(tmp_path, bus)
    async with running(parts.runner.run()):
        await parts.until("sink.facts")
        told = [parts.runner.confirms]
        bus.is_open = bus.is_up = True
        await parts.until("parts.runner.writer is bus", wake=True)
        bus.is_open = False
        await parts.until("parts.runner.writer is None", wake=True)
        assert [*told, parts.runner.confirms] == ["queue", "bus"]
        assert not parts.sink.facts[-1].is_up


def test_what_a_bus_confirms_is_known_before_anybody_has_looked_at_it(tmp_path: Path) -> None:
    assert Parts(tmp_path, FakeBus("bus")).runner.confirms == "bus"


def test_a_bus_that_is_up_and_only_listens_confirms_nothing(tmp_path: Path) -> None:
    bus = FakeBus("bus")
    bus.is_open = False
    assert Parts(tmp_path, bus).runner.confirms == "none"
