"""How long the server has run, over all its starts: holes age by it, which no clock can jump over. Pure."""

from __future__ import annotations


class RunningTime:
    """Seconds that the server has run: `before_seconds` of earlier starts, and since `started_seconds`.

    It never goes back, and stands still while the server is down. Moments are of a monotonic clock.
    """

    def __init__(self, before_seconds: float, started_seconds: float) -> None:
        self._before_seconds = before_seconds
        self._started_seconds = started_seconds

    def at(self, monotonic_seconds: float) -> float:
        """How long it has run by then."""
        return self._before_seconds + max(0.0, monotonic_seconds - self._started_seconds)
