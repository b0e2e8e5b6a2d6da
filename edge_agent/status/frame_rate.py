"""How many frames a bus gives, from a count that is looked at now and then."""

from __future__ import annotations

from collections import deque
from typing import Final

SPAN_SECONDS: Final = 10.0


class FrameRate:
    """The mean over about the last ten seconds, and how long nothing has come."""

    def __init__(self, now_seconds: float) -> None:
        self._samples: deque[tuple[float, int]] = deque([(now_seconds, 0)])
        self._last_news_seconds: float | None = None

    def sample(self, now_seconds: float, total: int) -> None:
        """So many frames there have been by now."""
        if total > self._samples[-1][1]:
            self._last_news_seconds = now_seconds
        self._samples.append((now_seconds, total))
        while len(self._samples) > 2 and self._samples[1][0] <= now_seconds - SPAN_SECONDS:
            self._samples.popleft()

    def per_second(self) -> float:
        """Frames per second between the first and the last sample that are kept."""
        (begin_seconds, before), (end_seconds, total) = self._samples[0], self._samples[-1]
        return (total - before) / (end_seconds - begin_seconds) if end_seconds > begin_seconds else 0.0

    def silent_seconds(self, now_seconds: float) -> float | None:
        """How long ago a sample last had news; None where none has."""
        return None if self._last_news_seconds is None else max(0.0, now_seconds - self._last_news_seconds)
