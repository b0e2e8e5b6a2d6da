"""How often a dongle's frames and values become packets while its bus is busy, and who is told of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import pytest

from can_stream.databases.configured import load_configured
from can_stream.frames.batches import FrameBatch, batch_of
from can_stream.lanes.sender import LaneSender
from can_stream.protocol.packets import Gap, GapReason, decode_packet
from edge_agent.budget.budget import Stage
from edge_agent.bus.reader import SourceReader
from edge_agent.config.dongle import DongleSection
from edge_agent.config.sections import UplinkSection
from edge_agent.dongles.pipeline import Heard, LaneSections, Pipeline
from edge_agent.errors import SourceEndedError
from edge_agent.host.clock import Clock
from edge_agent.uplink.hello import new_start_id

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
