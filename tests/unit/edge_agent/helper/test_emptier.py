"""A runner has the helper empty its driver, and goes on without a probe."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from can_stream.protocol.control import CanEmptyQueue, Confirms
from edge_agent.helper.emptier import QueueHelper
from edge_agent.host.clock import Clock
from edge_agent.relay.bus_watch import BusWatch
from edge_agent.relay.running import BusPort, BusRates, SinkRunner
from edge_agent.relay.sink import Sink
from edge_agent.relay.stopping import Switches
from edge_agent.transmit.policy import TargetBus
from tests.helpers.conditions import running, soon
from tests.helpers.recording_sink import RecordingSink


class Opening:
    """A bus as it was opened once: nobody can tell what waits in its driver."""

    confirms: Confirms = "bus"
    can_empty_queue: CanEmptyQueue = "probe"

    def is_empty(self) -> None:
        return None


class Bus:
    """A port whose bus `empty` takes down and up, unless it `refuses`."""

    def __init__(self) -> None:
        self.writer: Opening | None = Opening()
        self.is_up = True
        self.is_there = True
        self.refuses: float | None = None
        self.asked = 0
        self.raises = False
        self.rates = BusRates(TargetBus(listen_only=False, fd=False), 500_000, None)

    async def empty(self) -> float | None:
        self.asked += 1
        if self.raises:
            raise ValueError("a fault")
        if self.refuses is not None:
            return self.refuses
        self.writer = None
        await asyncio.sleep(0)
        self.writer = Opening()
        return None


def runner_of(bus: Bus, directory: Path) -> tuple[SinkRunner, RecordingSink]:
    sink = RecordingSink("van-a")
    sink.is_full = sink.wants_emptying = True
    switches = Switches(directory / "stopped")
    helper: QueueHelper = bus
    port = cast(BusPort, bus)
    runner = SinkRunner(cast(Sink, sink), port, BusWatch(5.0, wake=True), switches, Clock(), helper=helper)
    return runner, sink


async def test_a_driver_in_doubt_is_emptied_and_no_frame_has_to_find_out(tmp_path: Path) -> None:
    bus = Bus()
    runner, sink = runner_of(bus, tmp_path)
    async with running(runner.run()):
        await soon(lambda: sink.of("emptied"), "it is told that its driver is empty")
        assert bus.asked == 1
        assert runner.can_empty_queue == "helper"
        assert not any(facts.can_probe for facts in sink.facts)


@pytest.mark.parametrize("how", ["refuses", "raises", "is_there"])
async def test_without_the_helper_a_probe_finds_out(tmp_path: Path, how: str) -> None:
    bus = Bus()
    bus.refuses = 0.0 if how == "refuses" else None
    bus.raises = how == "raises"
    bus.is_there = how != "is_there"
    runner, sink = runner_of(bus, tmp_path)
    async with running(runner.run()):
        await soon(lambda: sink.facts and sink.facts[-1].can_probe, "it may probe")
        assert runner.can_empty_queue == "probe"
        assert bus.asked == (how != "is_there")
        assert not sink.of("emptied")
