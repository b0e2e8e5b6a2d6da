"""How much of its bus a relay may use: less while it catches up, and never all of it."""

from __future__ import annotations

from typing import Final

from can_stream.frames.batches import FrameBatch
from edge_agent.relay.bus_load import Meter, bus_times_ns

CATCHING_UP_NS: Final = 1_000_000_000
CATCHING_UP_FRAMES_PER_SECOND: Final = 5_000


class LoadLimits:
    """Shares of the bit rate: `max_live`, and `max_catching_up` while what waits is older than 1 s.

    Only what this gateway sends counts. Times are CLOCK_BOOTTIME.
    """

    def __init__(self, max_catching_up: float, max_live: float) -> None:
        self._shares = {True: max_catching_up, False: max_live}
        self._time, self._rate = Meter(), Meter()
        self._bit_rates: tuple[int, int | None] | None = None
        self._catching_up = False
        self._times_ns: dict[tuple[int, int], int] = {}
        self.taken_ns = 0
        """How long what was taken last takes the bus, at its worst."""

    @property
    def catching_up(self) -> bool:
        """Whether what waits is older than 1 s."""
        return self._catching_up

    def set_bus(self, bit_rate: int | None, data_bit_rate: int | None) -> None:
        """How fast the bus is; None: that is not known, and nothing fits."""
        bit_rates = None if not bit_rate else (bit_rate, data_bit_rate)
        if bit_rates != self._bit_rates:
            self._bit_rates = bit_rates
            self._times_ns.clear()

    def take(self, frames: FrameBatch, oldest_ns: int, now_ns: int) -> int:
        """How many of these may begin now, in order; those are sent. The first was read at `oldest_ns`."""
        if self._bit_rates is None:
            return 0
        self._catching_up = now_ns - oldest_ns > CATCHING_UP_NS
        times, by_rate = self._times(frames), _by_rate(frames)
        fitting = self._time.fitting(times, self._share, now_ns)
        fitting_rate = self._rate.fitting(by_rate, 1.0, now_ns)
        if self._catching_up:
            fitting = min(fitting, fitting_rate)
        self.taken_ns = sum(times[:fitting])
        self._time.use(times[:fitting])
        self._rate.use(by_rate[:fitting])
        return fitting

    def use(self, frames: FrameBatch) -> None:
        """Somebody else on this gateway has sent these."""
        self._time.use(self._times(frames))

    def give_back(self, frames: FrameBatch) -> None:
        """These were not, after all."""
        self._time.give_back(self._times(frames))
        self._rate.give_back(_by_rate(frames))

    def wait_ns(self) -> int:
        """How long until something may begin."""
        wait_ns = self._time.wait_ns(self._share)
        return max(wait_ns, self._rate.wait_ns(1.0)) if self._catching_up else wait_ns

    @property
    def _share(self) -> float:
        return self._shares[self._catching_up]

    def _times(self, frames: FrameBatch) -> list[int]:
        """By kind and length, which are all that it depends on: few, each computed once."""
        if not self._bit_rates:
            return [0] * len(frames)
        known = self._times_ns
        shapes = list(zip(frames.flags.tolist(), frames.length.tolist(), strict=True))
        try:
            return [known[shape] for shape in shapes]
        except KeyError:
            known.update(zip(shapes, bus_times_ns(frames, *self._bit_rates).tolist(), strict=True))
        return [known[shape] for shape in shapes]


def _by_rate(frames: FrameBatch) -> list[int]:
    return [10**9 // CATCHING_UP_FRAMES_PER_SECOND] * len(frames)
