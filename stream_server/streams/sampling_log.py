"""When a console says that it samples."""

from __future__ import annotations

from typing import Final

_SETTLE_SECONDS: Final = 0.9
_STOP_SECONDS: Final = 2.0
_CHECK_SECONDS: Final = 1.0


class SamplingLog:
    """Turns the sampler's state at each tick into the rare moments worth a `log` event.

    A start is told 0.9 s after it, when its rates can be known; a change by more than a factor of two when
    two looks in a row, one second apart, see it; a stop after 2 s without merging.
    """

    def __init__(self) -> None:
        self.active = False
        self._since: float | None = None
        self._merged_at = float("-inf")
        self._told_factor = 1.0
        self._look_at = float("-inf")
        self._looked_different = False

    @property
    def watching(self) -> bool:
        """Whether there is something to tell later, so that the next ticks are needed."""
        return self._since is not None

    def note(
        self, merging: bool, frames_in: int, frames_out: int, now_seconds: float
    ) -> dict[str, object] | None:
        """The `details` of a log event that is due now: rates are frames within the last second."""
        if merging:
            self._merged_at = now_seconds
            if self._since is None:
                self._since = now_seconds
        if self._since is None or now_seconds < self._since + _SETTLE_SECONDS:
            return None
        factor = max(1.0, round(frames_in / max(1, frames_out), 1))
        if self.active and not merging:
            if now_seconds < self._merged_at + _STOP_SECONDS:
                return None
            self.active, self._since = False, None
        elif self.active and not self._differs(factor, now_seconds):
            return None
        else:
            self.active, self._told_factor = True, factor
            self._look_at, self._looked_different = now_seconds + _CHECK_SECONDS, False
        return {
            "active": self.active,
            "frames_in_per_second": frames_in,
            "frames_out_per_second": frames_out,
            "factor": factor,
        }

    def _differs(self, factor: float, now_seconds: float) -> bool:
        if now_seconds < self._look_at:
            return False
        self._look_at = now_seconds + _CHECK_SECONDS
        before, self._looked_different = (
            self._looked_different,
            not self._told_factor / 2 <= factor <= self._told_factor * 2,
        )
        return before and self._looked_different
