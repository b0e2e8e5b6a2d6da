"""A log file that plays the part of a bus: `interface = "log"`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from can_stream.errors import LogError
from can_stream.frames.batches import FrameBatch, empty_batch
from can_stream.logs.log_reader import open_log
from edge_agent.bus.source import FoundEmpty
from edge_agent.config.dongle import LogOptions
from edge_agent.errors import SourceEndedError, SourceError
from edge_agent.host.clock import Clock
from edge_agent.logs.pacing import Pacer

_MAX_ROWS: Final = 2_000
# What reading takes for a moment stays with the process: a service needs no larger steps.
_BLOCK_BYTES: Final = 64 * 1024
_MAX_LAP_PAUSE_SECONDS: Final = 1.0
_BEAT_SECONDS: Final = 0.02
_CLOCK_STEP_NS: Final = 500_000_000


class LogBus:
    """Plays the log at `path` with timestamps of now, at its own spacing or as `options` say.

    Frames of all channels are merged unless `options.log_channel` names one. With `loop` the log starts
    again after the mean distance of its frames, at most a second. Memory holds one block of the log.
    """

    can_wait = True

    def __init__(self, path: Path, options: LogOptions | None = None, clock: Clock | None = None) -> None:
        self._path = path
        self._options = options or LogOptions()
        self._clock = clock or Clock()
        speed = self._options.speed
        self._pacer = Pacer(None if isinstance(speed, str) else speed)
        self._rest = empty_batch()
        self._last_read_seconds = float("-inf")
        self._wall_offset_ns: int | None = None
        self._earlier_malformed = 0
        self._found_empty = FoundEmpty()
        self._found_empty.empty(self._clock.boottime_ns())
        self._begin_lap()

    @property
    def info(self) -> str:
        """The log's path."""
        return f"the log {self._path}"

    @property
    def malformed(self) -> int:
        """Lines that could not be read, over all laps."""
        return self._earlier_malformed + self._reader.unreadable

    @property
    def born_ns(self) -> int:
        """See `Aged`: what it plays comes to be when it is due."""
        return self._found_empty.born_ns

    def read(self, timeout_seconds: float) -> FrameBatch:
        """The frames that are due by now. Raises SourceEndedError after the last, or SourceError."""
        if not len(self._rest):
            self._rest = self._next_batch()
        deadline_seconds = self._clock.monotonic_seconds() + timeout_seconds
        self._wait_for_beat(timeout_seconds)
        window = self._rest[:_MAX_ROWS]
        while True:
            looked_ns, now_seconds = self._clock.boottime_ns(), self._clock.monotonic_seconds()
            rows, wait_seconds, due_ns = self._pacer.due_rows(window.timestamp_ns, now_seconds)
            if rows:
                self._found_empty.reads()
            if rows < len(window) or self._pacer.speed is None:  # else more of it may be due
                self._found_empty.empty(looked_ns)
            if rows or now_seconds >= deadline_seconds:
                break
            self._clock.sleep(min(wait_seconds, deadline_seconds - now_seconds))
        self._rest = self._rest[rows:]
        self._last_read_seconds = now_seconds
        return replace(window[:rows], timestamp_ns=self._wall_ns_of(due_ns))

    def close(self) -> None:
        """Lets go of the file."""
        self._reader.close()

    def _wait_for_beat(self, timeout_seconds: float) -> None:
        """One wake-up for many frames, as on a bus; after a pause the first frame is not late."""
        if self._pacer.speed is not None:
            early_seconds = self._last_read_seconds + _BEAT_SECONDS - self._clock.monotonic_seconds()
            self._clock.sleep(max(min(early_seconds, timeout_seconds), 0.0))

    def _begin_lap(self) -> None:
        try:
            self._reader = open_log(self._path, block_bytes=_BLOCK_BYTES)
        except LogError as error:
            raise SourceError("NO_LOG", str(error), "check `channel`, it is the path of a log") from error
        self._batches = self._frames()
        self._lap_frames = 0
        self._lap_began_seconds = self._pacer.position_seconds

    def _frames(self) -> Iterator[FrameBatch]:
        wanted = self._options.log_channel
        for batch in self._reader:
            if wanted is None:
                yield batch.frames
            elif wanted in self._reader.channels:
                yield batch.frames[batch.channel == self._reader.channels.index(wanted)]

    def _next_batch(self) -> FrameBatch:
        while True:
            for frames in self._batches:
                if len(frames):
                    self._lap_frames += len(frames)
                    return frames
            self._end_lap()
            self._begin_lap()

    def _end_lap(self) -> None:
        if not self._lap_frames:
            channels = ", ".join(self._reader.channels) or "none"
            raise SourceError(
                "NO_FRAMES", f"no frames to play in {self._path}", f"its channels are: {channels}"
            )
        if not self._options.loop:
            raise SourceEndedError(f"{self._path} has been played to its end")
        self._earlier_malformed += self._reader.unreadable
        lap_seconds = self._pacer.position_seconds - self._lap_began_seconds
        pause_seconds = lap_seconds / max(self._lap_frames - 1, 1) or _MAX_LAP_PAUSE_SECONDS
        self._pacer.next_lap(min(pause_seconds, _MAX_LAP_PAUSE_SECONDS))

    def _wall_ns_of(self, due_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Wall clock times of moments of play: evenly spaced, unless the wall clock is set anew."""
        if self._pacer.began_seconds is None:
            return due_ns
        offset_ns = self._clock.wall_ns() - self._clock.monotonic_ns()
        if self._wall_offset_ns is None or abs(offset_ns - self._wall_offset_ns) > _CLOCK_STEP_NS:
            self._wall_offset_ns = offset_ns
        began_ns = int(self._pacer.began_seconds * 1e9)
        return due_ns + (self._wall_offset_ns + began_ns)
