"""How often a dongle's frames and values become packets while its bus is busy, and who is told of it;
and what an activation changes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal

import pytest

from can_stream.databases.configured import load_configured
from can_stream.frames.batches import FrameBatch, batch_of, empty_batch
from can_stream.lanes.held import Held
from can_stream.lanes.sender import LaneSender
from can_stream.protocol.marker import Marker, activation_name
from can_stream.protocol.packets import Gap, GapReason, decode_packet
from edge_agent.budget.budget import Stage
from edge_agent.bus.reader import SourceReader
from edge_agent.config.dongle import DongleSection
from edge_agent.config.frame_filters import FrameFilter
from edge_agent.config.sections import UplinkSection
from edge_agent.dongles.pipeline import Heard, LaneSections, Pipeline
from edge_agent.errors import SourceEndedError
from edge_agent.host.clock import Clock
from edge_agent.uplink.hello import new_start_id
from tests.helpers.conditions import eventually

DATABASE = Path(__file__).resolve().parents[4] / "dbc" / "demo-vehicle.dbc"
GEARBOX_ID = 544
READS = 60


class BusyBus:
    """A frame with another gear each 10 ms, then the end."""

    info = "a busy bus"
    malformed = 0
    can_wait = False
    patience_seconds = 0.0

    def __init__(self) -> None:
        self.reads = 0

    def read(self, timeout_seconds: float) -> FrameBatch:
        if self.reads == READS:
            raise SourceEndedError("it is over")
        self.reads += 1
        time.sleep(0.01)
        return batch_of([(self.reads, GEARBOX_ID, 0, 2, bytes([self.reads, 0]))])

    def close(self) -> None:
        pass


async def fed(frames: Literal["all", "off"], stage: Stage = Stage.EVERYTHING) -> Pipeline:
    """That of a dongle whose bus is over, at this stage of a budget; no packet of it was sent."""
    section = DongleSection("can0", id="van7-can0", frames=frames, databases=[str(DATABASE)])
    sections = LaneSections(new_start_id(), UplinkSection(flush_seconds=0.02))
    pipeline = Pipeline(section, sections, Clock(), Heard())
    pipeline.add_decoder()
    pipeline.decode_by(load_configured(section.databases).table, section.signals)
    pipeline.limit(stage)
    reader = SourceReader("van7-can0", BusyBus, lambda _: None)
    reader.start()
    await pipeline.feed(reader, lambda item: iter([item]))
    await reader.stop()
    return pipeline


async def test_values_go_less_often_than_frames_where_there_are_frames() -> None:
    pipeline = await fed("all")
    assert pipeline.decoder is not None
    frames, values = pipeline.frames, pipeline.decoder.lane
    assert frames.waiting_frames == READS
    assert values.waiting_frames == READS + 1  # the lever does not move
    assert frames.window.held_packets > 2 * values.window.held_packets > 2


async def test_values_go_as_often_as_frames_would_where_there_are_none() -> None:
    pipeline = await fed("off")
    sparse = await fed("all")
    assert pipeline.decoder is not None
    assert sparse.decoder is not None
    assert pipeline.frames.waiting_frames == 0
    assert pipeline.decoder.lane.waiting_frames == READS + 1
    assert pipeline.decoder.lane.window.held_packets > 2 * sparse.decoder.lane.window.held_packets


def left_out(lane: LaneSender) -> int:
    """How many frames or values the lane says that the budget cost."""
    lane.paused = False
    lane.connect(0.0)
    bodies = []
    while (packet := lane.next_packet()) is not None:
        bodies.append(decode_packet(packet[1]).body)
    gaps = [body for body in bodies if isinstance(body, Gap) and body.reason is GapReason.BUDGET]
    return sum(gap.frames or 0 for gap in gaps)


@pytest.mark.parametrize(
    ("stage", "frames", "values"),
    [
        (Stage.EVERYTHING, READS, READS + 1),
        (Stage.NO_FRAMES, 0, READS + 1),
        (Stage.SLOW_SIGNALS, 0, 3),  # of two signals the first values, and the last of the one that moves
        (Stage.NO_SIGNALS, 0, 0),
    ],
)
async def test_what_the_budget_does_not_allow_is_left_out_and_counted(
    stage: Stage, frames: int, values: int
) -> None:
    pipeline = await fed("all", stage)
    assert pipeline.decoder is not None
    lane = pipeline.decoder.lane
    assert (pipeline.frames.waiting_frames, lane.waiting_frames) == (frames, values)
    assert (pipeline.frames.paused, lane.paused) == (
        stage >= Stage.NO_FRAMES,
        stage >= Stage.NO_SIGNALS,
    )
    assert left_out(pipeline.frames) == READS - frames
    assert left_out(lane) == (3 if stage is Stage.NO_SIGNALS else 0)


async def test_a_new_day_opens_the_lanes() -> None:
    pipeline = await fed("all", Stage.NO_SIGNALS)
    pipeline.limit(Stage.EVERYTHING)
    assert not any(lane.paused for lane in pipeline.lanes)


async def test_a_lane_says_that_it_has_something_to_send_and_that_there_is_room() -> None:
    pipeline = await fed("all")
    lane, told = pipeline.frames, list[str]()
    lane.on_unsent, lane.on_freed = lambda: told.append("unsent"), lambda: told.append("freed")
    lane.take_loss(GapReason.SOURCE, 1, 0.0)
    assert told == []  # nobody is connected
    lane.connect(0.0)
    lane.take_loss(GapReason.SOURCE, 1, 0.0)
    assert told == ["unsent"]
    while (packet := lane.next_packet()) is not None:
        lane.acknowledged(packet[0], decode_packet(packet[1]).number)
    assert told[1:] == ["freed"] * (lane.next_seq - 1)
    assert lane.is_empty


FIRST, SECOND = activation_name("ab" * 16, 1), activation_name("ab" * 16, 2)
FILTERED = DongleSection("can0", id="van7-can0", frame_filters=[FrameFilter(0x7DF)])
SILENCED = DongleSection("can0", id="van7-can0", frames="off")


class ToldBus(BusyBus):
    """Gives frames of ids 0, 1, 2... as the test asks for them, and knows how old they are at most."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: SimpleQueue[int] = SimpleQueue()
        self.ids = count()

    @property
    def born_ns(self) -> int:
        return 5_000

    def read(self, timeout_seconds: float) -> FrameBatch:
        try:
            wanted = self.asked.get(timeout=timeout_seconds)
        except Empty:
            return empty_batch()
        return batch_of((1_000, next(self.ids), 0, 1, b"\1") for _ in range(wanted))


class Feeding:
    """A pipeline that is fed by a `ToldBus`."""

    def __init__(self, section: DongleSection, activation: str = "") -> None:
        activations = {"van7-can0": activation} if activation else {}
        sections = LaneSections(new_start_id(), UplinkSection(flush_seconds=0.02), activations=activations)
        self.bus, self.pipeline = ToldBus(), Pipeline(section, sections, Clock(), Heard())
        self.reader = SourceReader("van7-can0", lambda: self.bus, lambda _: None)

    async def read(self, frames: int) -> None:
        """So many are in the pipeline now."""
        passed = self.reader.counts.read + frames
        self.bus.asked.put(frames)
        await until(lambda: self.reader.counts.read == passed and not self.reader.counts.waiting)

    async def mark(self, activation: str) -> None:
        """Behind all that was read."""
        self.reader.in_source(lambda _: None, lambda: self.pipeline.mark(activation))
        await until(lambda: self.pipeline.frames.activation == activation)

    def made(self) -> list[Held]:
        """All packets of the lane."""
        lane = self.pipeline.frames
        lane.paused = False
        lane.connect(0.0)
        return [sent[1] for _ in range(lane.next_seq) if (sent := lane.next_held()) is not None]

    def bodies(self) -> list[str | list[int]]:
        """Markers by name, frames by their ids, gaps by reason."""
        told = list[str | list[int]]()
        for held in self.made():
            body = decode_packet(held.packet).body
            if isinstance(body, Marker):
                told.append(body.activation)
            elif isinstance(body, FrameBatch):
                ids = body.arbitration_id.tolist()
                told = [*told[:-1], told[-1] + ids] if isinstance(told[-1], list) else [*told, ids]
            elif isinstance(body, Gap):
                told.append(f"{body.reason.name} {body.frames}")
        return told


@contextlib.asynccontextmanager
async def feeding(section: DongleSection, activation: str = "") -> AsyncIterator[Feeding]:
    made = Feeding(section, activation)
    made.reader.start()
    task = asyncio.create_task(made.pipeline.feed(made.reader, lambda item: iter([item])))
    yield made
    await made.reader.stop()
    await task


@pytest.mark.parametrize("section", [FILTERED, SILENCED], ids=["filters", "off"])
async def test_behind_a_marker_every_frame_is_carried_and_before_it_what_was_before(
    section: DongleSection,
) -> None:
    async with feeding(section) as test:
        await test.read(3)
        await test.mark(FIRST)
        await test.read(3)
        await test.mark(SECOND)
        await test.read(2)
        await test.mark("")
        await test.read(4)
    assert test.bodies() == ["START None", FIRST, [3, 4, 5], SECOND, [6, 7], ""]
    assert test.pipeline.left_out_frames == 7


async def test_what_was_gathered_is_before_the_marker() -> None:
    async with feeding(DongleSection("can0", id="van7-can0")) as test:
        await test.read(3)
        await test.mark(FIRST)
        await test.read(2)
    assert test.bodies() == ["START None", [0, 1, 2], FIRST, [3, 4]]
    assert {held.activation for held in test.made() if held.frames} == {"", FIRST}


async def test_the_same_activation_again_is_no_news() -> None:
    async with feeding(DongleSection("can0", id="van7-can0"), FIRST) as test:
        test.pipeline.mark(FIRST)
        await test.read(1)
        await test.mark(SECOND)
    assert test.bodies() == ["START None", FIRST, [0], SECOND]


async def test_a_start_marks_itself_with_its_second_packet() -> None:
    async with feeding(FILTERED, FIRST) as test:
        assert test.pipeline.is_marked
        await test.read(2)
    assert test.bodies() == ["START None", FIRST, [0, 1]]


async def test_a_log_that_an_agent_plays_is_marked_as_a_bus_is() -> None:
    """Each start plays it under another id: it cannot be taken up again."""
    async with feeding(DongleSection("drive.log", id="van7-can0", interface="log"), FIRST) as test:
        test.pipeline.begin()
        await test.read(2)
        await test.mark(SECOND)
        await test.read(1)
    assert test.bodies() == ["START None", FIRST, [0, 1], SECOND, [2]]


async def test_a_spent_budget_leaves_out_nothing_of_what_is_relayed() -> None:
    async with feeding(DongleSection("can0", id="van7-can0")) as test:
        test.pipeline.limit(Stage.NO_FRAMES)
        await test.read(3)
        paused = [test.pipeline.frames.paused]
        await test.mark(FIRST)
        paused.append(test.pipeline.frames.paused)
        test.pipeline.limit(Stage.NO_SIGNALS)
        await test.read(2)
        await test.mark("")
        paused.append(test.pipeline.frames.paused)
        await test.read(1)
    assert paused == [True, False, True]
    assert test.bodies() == ["START None", "BUDGET 3", FIRST, [3, 4], "", "BUDGET 1"]


async def test_each_packet_knows_since_when_it_may_have_been_on_the_bus() -> None:
    async with feeding(DongleSection("can0", id="van7-can0"), FIRST) as test:
        await test.read(2)
    assert [(held.frames, held.born_ns) for held in test.made() if held.born_ns or held.frames] == [
        (2, 5_000)
    ]


async def test_while_relayed_a_packet_is_made_at_once_and_otherwise_with_the_beat() -> None:
    async with feeding(DongleSection("can0", id="van7-can0"), FIRST) as test:
        for _ in range(5):
            await test.read(1)
            assert test.reader.beats.is_prompt
            await until(lambda: not test.pipeline.gathered_frames)
        await test.mark("")
        assert not test.reader.beats.is_prompt
    assert [held.frames for held in test.made() if held.frames] == [1] * 5


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, condition, "what the pipeline does")
