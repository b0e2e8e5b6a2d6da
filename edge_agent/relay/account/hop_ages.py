"""How long relayed frames were on each of their hops, as histograms.

The hops of one frame add up to its age when it was confirmed: each is the difference of two of the moments by
which that age was counted, so that none is shorter than it was.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from msgspec import Struct, field

BOUNDS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 300, 1_000, 3_000, 10_000)
HOPS: Final = ("before", "downlink", "queue", "driver", "echo")


class Arrival(Struct, frozen=True):
    """When an item came, and for how long at most it was on its way from the server. CLOCK_BOOTTIME."""

    came_ns: int
    transit_ns: int


class Histogram(Struct):
    """`counts` of frames by bucket: up to each of BOUNDS_MS, and above. `sum_ms` of all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))
    sum_ms: float = 0.0

    def add(self, age_ns: int, frames: int) -> None:
        """So many frames took at most so long."""
        age_ms = age_ns / 1e6
        self.counts[bisect_left(BOUNDS_MS, age_ms)] += frames
        self.sum_ms += age_ms * frames


class HopAges:
    """Of one bus. A burst is taken for as old as its first frame, so that a frame costs nothing by itself."""

    def __init__(self) -> None:
        self.hops: dict[str, Histogram] = {hop: Histogram() for hop in HOPS}

    def confirmed(
        self, frames: int, born_ns: int, arrival: Arrival | None, opened_ns: int, now_ns: int
    ) -> None:
        """A burst that was handed over at `opened_ns` is confirmed, all of it."""
        self._add("echo", now_ns - born_ns, frames)
        self._add("driver", now_ns - opened_ns, frames)
        if arrival is not None:
            left_ns = arrival.came_ns - arrival.transit_ns
            self._add("queue", opened_ns - arrival.came_ns, frames)
            self._add("downlink", arrival.transit_ns, frames)
            self._add("before", left_ns - born_ns, frames)

    def _add(self, hop: str, age_ns: int, frames: int) -> None:
        self.hops[hop].add(age_ns, frames)
