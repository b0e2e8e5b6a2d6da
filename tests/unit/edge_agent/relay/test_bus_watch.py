"""A bus sleeps where nobody but us speaks."""

from __future__ import annotations

import numpy as np

from can_stream.frames.batches import FrameBatch, FrameFlag
from edge_agent.relay.bus_watch import BusWatch

SECOND = 1_000_000_000


def frames(*flags: FrameFlag) -> FrameBatch:
    count = len(flags)
    return FrameBatch(
        np.zeros(count, np.int64),
        np.full(count, 0x123, np.uint32),
        np.array(flags, np.uint8),
        np.zeros(count, np.uint8),
        np.zeros((count, 8), np.uint8),
    )


def test_a_bus_is_awake_while_others_speak() -> None:
    watch = BusWatch(5.0, wake=False)
    assert watch.is_asleep(0), "nobody has spoken yet"
    assert not watch.hear(frames(FrameFlag(0)), SECOND)
    assert not watch.is_asleep(6 * SECOND)
    assert watch.is_asleep(6 * SECOND + 1)


def test_own_frames_and_error_frames_wake_nobody() -> None:
    watch = BusWatch(5.0, wake=False)
    assert watch.hear(frames(FrameFlag.TX), SECOND)
    assert not watch.hear(frames(FrameFlag.ERROR), SECOND)
    assert watch.is_asleep(SECOND)
    assert watch.hear(frames(FrameFlag.TX, FrameFlag(0)), SECOND)
    assert not watch.is_asleep(SECOND)


def test_a_bus_that_may_be_woken_is_never_asleep() -> None:
    assert not BusWatch(5.0, wake=True).is_asleep(0)
