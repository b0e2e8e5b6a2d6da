"""A moment, as what is told about one takes it: `clock.now` makes it."""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """One moment on both clocks: monotonic seconds for durations, wall microseconds for ids and `ts`."""

    seconds: float
    wall_us: int
