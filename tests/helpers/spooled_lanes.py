"""A lane whose window is on disk, with the parts that a test looks at or moves by hand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from itertools import count

from can_stream.frames.batches import FrameBatch, batch_of
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.control import LaneName
from can_stream.protocol.packets import decode_packet
from edge_agent.lanes.spooled_window import SpooledWindow, spooled_lane
from edge_agent.spool.changes import Changes, LaneKey, Moment
from edge_agent.spool.store import SpoolStore
from tests.helpers.conditions import eventually

START = "01" * 8
FRAMES_LANE: LaneName = "frames"


def a_spooled_lane(
    dongle_id: str = "van7-can0",
    start_id: str = START,
    limits: WindowLimits | None = None,
    patience_seconds: float = 0.0,
) -> LaneSender:
    """Nothing is in it."""
    return spooled_lane(dongle_id, FRAMES_LANE, start_id, limits or WindowLimits(), 1000, patience_seconds)


def window_of(lane: LaneSender) -> SpooledWindow:
    """The window of a lane that has a spool."""
    assert isinstance(lane.window, SpooledWindow)
    return lane.window


def key_of(lane: LaneSender) -> LaneKey:
    """What the spool knows it by."""
    return lane.dongle_id, lane.lane


def random_frames(frames: int, first_ns: int = 0) -> FrameBatch:
    """They cannot be made smaller."""
    return batch_of([(first_ns + i, 1, 0, 8, os.urandom(8)) for i in range(frames)])


def store_all(store: SpoolStore, lane: LaneSender, now: Moment) -> None:
    """One transaction with all that may be written by now."""
    window = window_of(lane)
    rows = window.hand_over(now.monotonic_seconds, partial(next, count(store.next_row)), 1 << 30)
    store.next_row += len(rows)
    ledger = lane.ledger.changed(lane.next_seq - 1, lane.next_frame)
    key = key_of(lane)
    unneeded = window.disk.unneeded.take()
    stretches = [(key, one) for one in unneeded.stretches]
    puts = [(key, row) for row in rows]
    store.apply(Changes(puts, unneeded.rows, stretches, [(key, entry) for entry in ledger]), now)
    lane.ledger.written(ledger)
    window.written(rows)


def load(store: SpoolStore, lane: LaneSender, now: Moment) -> int:
    """What the connection wants of the disk, once; how many packets that was."""
    window = window_of(lane)
    fetch = window.disk.reader.next_fetch()
    if fetch is None:
        return 0
    rows = store.fetch(key_of(lane), fetch, now)
    window.take_rows(fetch, rows, now.monotonic_seconds)
    return len(rows)


def offer_left(store: SpoolStore, lane: LaneSender, now: Moment) -> None:
    """What earlier starts left in the file, as the agent does once it has read it."""
    left = store.left(now).get(key_of(lane))
    if left is not None:
        window_of(lane).offer(left.backlog)
        lane.ledger.read(left.ledger)


def acknowledge_all(lane: LaneSender) -> list[int]:
    """Sends what can be sent, all of which the server has at once; its numbers."""
    numbers = []
    while (packet := lane.next_packet()) is not None:
        number = decode_packet(packet[1]).number
        lane.acknowledged(packet[0], number)
        numbers.append(number.seq)
    return numbers


async def until(condition: Callable[[], bool]) -> None:
    """What a spool does in a thread and a task of its own."""
    await asyncio.to_thread(eventually, condition, "what the spool does")
