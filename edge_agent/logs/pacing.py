"""When the frames of a log are due: at the log's own spacing, or so many times faster."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch

# A log that was recorded in several runs: time starts again, or whole nights lie between the runs.
MAX_GAP_NS: Final = 3600 * 10**9
SHORTENED_GAP_NS: Final = 10**9
MAX_STEP_BACK_NS: Final = 10**9


class Pacer:
    """Plays timestamps at `speed` times their spacing; None: all at once. Play begins with the first call.

    Due times are reckoned from the beginning of play, so that no delay adds up; who comes late gets what
    is due by then. A frame older than its predecessor is due together with it; time that goes back by a
    second or more starts a new run, which follows without a pause. A gap of more than an hour is played
    as one second.
    """

    def __init__(self, speed: float | None = 1.0) -> None:
        if speed is not None and not speed > 0:
            raise ValueError("speed must be above 0")
        self.speed = speed
        self.began_seconds: float | None = None
        self._last_ns: int | None = None
        self._position_ns = 0  # of the log's time, where the last emitted row was due
        self._raw_position_ns = 0  # the same, before rows that step back were held to their predecessor

    def due(self, batch: FrameBatch, now_seconds: float) -> tuple[FrameBatch, float]:
        """The rows of `batch` to emit now, and the seconds until the next of it is due, 0 if none is left.

        The next call must get the rest of `batch`, or, if nothing is left, the log's next batch.
        """
        rows, wait_seconds, _ = self.due_rows(batch.timestamp_ns, now_seconds)
        return batch[:rows], wait_seconds

    def due_rows(
        self, timestamp_ns: NDArray[np.int64], now_seconds: float
    ) -> tuple[int, float, NDArray[np.int64]]:
        """How many of the first rows are due, seconds until the next, and when each of the rows is due.

        The last is int64[rows], nanoseconds of play since its beginning.
        """
        if not len(timestamp_ns):
            return 0, 0.0, np.zeros(0, np.int64)
        if self.began_seconds is None:
            self.began_seconds = now_seconds
        raw = self._raw_positions(timestamp_ns)
        positions = np.maximum(np.maximum.accumulate(raw), self._position_ns)
        played_ns = (now_seconds - self.began_seconds) * 1e9
        if self.speed is None:
            rows, due_ns = len(raw), np.full(len(raw), int(played_ns), np.int64)
        else:
            due_ns = positions if self.speed == 1 else (positions / self.speed).astype(np.int64)
            rows = int(np.searchsorted(due_ns, played_ns, side="right"))
        if rows:
            self._last_ns = int(timestamp_ns[rows - 1])
            self._raw_position_ns, self._position_ns = int(raw[rows - 1]), int(positions[rows - 1])
        wait_seconds = 0.0 if rows == len(raw) else (float(due_ns[rows]) - played_ns) / 1e9
        return rows, wait_seconds, due_ns[:rows]

    def skip(self, timestamp_ns: NDArray[np.int64], now_seconds: float) -> None:
        """These rows need not be played: what follows is due as if the last of them had just been."""
        if not len(timestamp_ns):
            return
        raw = self._raw_positions(timestamp_ns)
        self._last_ns = int(timestamp_ns[-1])
        self._raw_position_ns = int(raw[-1])
        self._position_ns = max(int(raw.max()), self._position_ns)
        if self.speed is not None:
            self.began_seconds = now_seconds - self._position_ns / self.speed / 1e9

    def next_lap(self, pause_seconds: float) -> None:
        """The log begins again: its first row is due `pause_seconds` of log time after the last one."""
        self._last_ns = None
        self._position_ns += int(pause_seconds * 1e9)
        self._raw_position_ns = self._position_ns

    @property
    def position_seconds(self) -> float:
        """How much of the log's time has been played, pauses of `next_lap` included."""
        return self._position_ns / 1e9

    def _raw_positions(self, timestamp_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        first = int(timestamp_ns[0]) if self._last_ns is None else self._last_ns
        before = np.concatenate((np.array([first], np.int64), timestamp_ns[:-1]))
        # As floats only to judge them: timestamps of a broken log may lie further apart than an int64 holds.
        apart = timestamp_ns.astype(np.float64) - before.astype(np.float64)
        steps = timestamp_ns - before
        steps[apart <= -MAX_STEP_BACK_NS] = 0
        steps[apart > MAX_GAP_NS] = SHORTENED_GAP_NS
        positions: NDArray[np.int64] = self._raw_position_ns + np.cumsum(steps)
        return positions
