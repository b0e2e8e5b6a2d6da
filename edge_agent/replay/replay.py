"""Replays logs: paced windows of frames into an outlet (the uplink, a bus, or the terminal)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from msgspec import Struct

from can_stream.frames.batches import FrameBatch
from edge_agent.errors import ReplayError
from edge_agent.lanes.batching import LogCutter, Window
from edge_agent.logs.pacing import Pacer
from edge_agent.logs.selected_frames import SelectedFrames
from edge_agent.logs.selection import Selection
from edge_agent.logs.slow_source import as_they_come

# A pace finer than this would wake the machine for every frame.
BEAT_SECONDS: Final = 0.02
_LAP_PAUSE_SECONDS: Final = 1.0


class Pace(Struct, frozen=True):
    """`speed` None: as fast as the outlet takes it. `flush_seconds` of log time go into one window."""

    speed: float | None
    flush_seconds: float
    loop: bool


class Totals(Struct, frozen=True):
    """How far a replay is: frames played, and those that its outlet has confirmed.

    `lost`: those that were sent and are not confirmed. `error_frames`: those that the outlet cannot be given.
    The others wait to be sent.
    """

    frames: int
    acknowledged: int
    lost: int = 0
    error_frames: int = 0

    @property
    def not_sent(self) -> int:
        """How many wait."""
        return self.frames - self.acknowledged - self.lost - self.error_frames


class Replay:
    """The windows of a selection, each when it is due. `frames` counts those given out.

    A window that `is_there` already, where it goes, is given out at once, and what follows is due from then.
    """

    def __init__(self, selection: Selection, pace: Pace) -> None:
        self.frames = 0
        self.is_there: Callable[[Window], Awaitable[bool]] | None = None
        self._is_stream = selection.is_stream
        self.source = SelectedFrames(selection)
        self._pace = pace
        self._pacer = Pacer(pace.speed)
        self._shift_ns = 0
        self._lap_end_ns: int | None = None
        self._lap_first_ns: int | None = None

    async def windows(self) -> AsyncIterator[Window]:
        """Windows in order; with `loop` for ever, later laps with later times."""
        while True:
            frames_before = self.frames
            async for window in self._lap():
                yield window
            if not self._pace.loop:
                return
            if self.frames == frames_before:
                raise ReplayError("nothing of these logs is selected, there is nothing to loop")
            self._next_lap()

    async def _lap(self) -> AsyncIterator[Window]:
        cutter = LogCutter(int(self._pace.flush_seconds * 1e9))
        async for frames, channel in self._blocks():
            for window in cutter.add_frames(self._shifted(frames), channel):
                yield await self._paced(window)
            if self._is_stream:  # what comes next may be long in coming
                for window in cutter.finish():
                    yield await self._paced(window)
        for window in cutter.finish():
            yield await self._paced(window)

    async def _blocks(self) -> AsyncIterator[Window]:
        if self._is_stream:
            async for block in as_they_come(self.source):
                yield block
            return
        for block in self.source:
            yield block

    async def _paced(self, window: Window) -> Window:
        """Waits until the last frame of the window is due."""
        times = window[0].timestamp_ns
        begin = 0
        if self.is_there is not None and await self.is_there(window):
            self._pacer.skip(times, time.monotonic())
            begin = len(times)
        while begin < len(times):
            rows, wait_seconds, _ = self._pacer.due_rows(times[begin:], time.monotonic())
            begin += rows
            if begin < len(times):
                await asyncio.sleep(max(wait_seconds, BEAT_SECONDS))
        self.frames += len(times)
        return window

    def _shifted(self, frames: FrameBatch) -> FrameBatch:
        times = frames.timestamp_ns
        first, last = int(times.min()), int(times.max())
        self._lap_first_ns = first if self._lap_first_ns is None else min(self._lap_first_ns, first)
        self._lap_end_ns = last if self._lap_end_ns is None else max(self._lap_end_ns, last)
        if not self._shift_ns:
            return frames
        return FrameBatch(
            times + self._shift_ns, frames.arbitration_id, frames.flags, frames.length, frames.data
        )

    def _next_lap(self) -> None:
        assert self._lap_first_ns is not None
        assert self._lap_end_ns is not None
        self._shift_ns += self._lap_end_ns - self._lap_first_ns + int(_LAP_PAUSE_SECONDS * 1e9)
        self._lap_first_ns = self._lap_end_ns = None
        self._pacer.next_lap(_LAP_PAUSE_SECONDS)


def by_channel(window: Window) -> list[tuple[int, FrameBatch]]:
    """The frames of each channel of a window, in order."""
    frames, channel = window
    numbers = sorted(set(channel.tolist()))
    if len(numbers) == 1:
        return [(numbers[0], frames)]
    return [(number, frames[channel == number]) for number in numbers]
