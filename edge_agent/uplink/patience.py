"""How much a server may want of an agent in how long: one rule for all that it can say."""

from __future__ import annotations

from typing import Final

MOST_FRAMES: Final = 200
PATIENCE_SECONDS: Final = 10.0


class Patience:
    """Bears `most_frames` at once, and as many again in each ten seconds; and one for each that is `earned`.

    A server has little to say of its own; what it acknowledges was sent to it before.
    """

    def __init__(self, most_frames: int = MOST_FRAMES) -> None:
        self.earned = 0
        self._most = most_frames
        self._left = float(most_frames)
        self._at_seconds = 0.0

    def bears(self, now_seconds: float, *, answers: bool) -> bool:
        """Whether one more frame is in order; one that `answers` is paid for by what was earned."""
        if answers and self.earned > 0:
            self.earned -= 1
            return True
        since_seconds = max(0.0, now_seconds - self._at_seconds)
        self._at_seconds = now_seconds
        self._left = min(self._most, self._left + since_seconds * self._most / PATIENCE_SECONDS)
        if self._left < 1:
            return False
        self._left -= 1
        return True
