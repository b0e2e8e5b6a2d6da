"""How many there were within the last second, and how many more may be."""

from __future__ import annotations

from collections import deque
from sys import maxsize
from typing import Final

_BURST_SECONDS: Final = 0.1


class RateWindow:
    """How many there were within the last second."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, int]] = deque()
        self._total = 0

    def add_count(self, count: int, now_seconds: float) -> None:
        """`count` more, now."""
        if count:
            self._steps.append((now_seconds, count))
            self._total += count

    def count(self, now_seconds: float) -> int:
        """The sum over the second that ends now."""
        while self._steps and self._steps[0][0] <= now_seconds - 1.0:
            self._total -= self._steps.popleft()[1]
        return self._total


class Budget:
    """Spreads a limit per second evenly: at most a tenth of it at once, and never more in any second."""

    def __init__(self) -> None:
        self.spent = RateWindow()
        self._tokens = 0.0
        self._earned_at = float("-inf")

    def earn(self, limit_per_second: int | None, now_seconds: float) -> int:
        """How many may be shown now; None is no limit."""
        if limit_per_second is None:
            return maxsize
        burst = max(1.0, limit_per_second * _BURST_SECONDS)
        self._tokens = min(burst, self._tokens + limit_per_second * (now_seconds - self._earned_at))
        self._earned_at = now_seconds
        return max(0, min(int(self._tokens + 1e-6), limit_per_second - self.spent.count(now_seconds)))

    def spend(self, count: int, now_seconds: float) -> None:
        """So many are shown now, perhaps more than were allowed."""
        self._tokens = max(0.0, self._tokens - count)
        self.spent.add_count(count, now_seconds)
