"""How long a reader leaves a busy bus alone: one wake-up for many frames, or hardly any wait at all."""

from __future__ import annotations


class Pace:
    """Allows `at_once` turns without a wait, and from there one in each `beat_seconds`."""

    def __init__(self, beat_seconds: float, at_once: int) -> None:
        self.beat_seconds = beat_seconds
        self._ahead_seconds = beat_seconds * (at_once - 1)
        self._paid_until_seconds = float("-inf")

    def due_in(self, now_seconds: float) -> float:
        """Seconds until the next turn may be taken."""
        return max(0.0, self._paid_until_seconds - self._ahead_seconds - now_seconds)

    def take(self, now_seconds: float) -> None:
        """A turn was taken."""
        self._paid_until_seconds = max(self._paid_until_seconds, now_seconds) + self.beat_seconds


class Beats:
    """Of one reader. `longest_seconds`: what its frames allow. `is_prompt`: they must not wait at all, and go
    by `pace`, which bounds what that costs under load. `haste`: as `pace`, while somebody waits for them."""

    def __init__(self, pace: Pace, haste: Pace | None = None) -> None:
        self.longest_seconds = float("inf")
        self.is_prompt = False
        self._pace = pace
        self._haste = haste or Pace(0.0, 1)

    def pause_seconds(self, patience_seconds: float, now_seconds: float) -> float:
        """How long not to read now: frames have been read, and the driver keeps others for so long."""
        beat_seconds = min(patience_seconds, self.longest_seconds)
        if beat_seconds <= 0:
            return 0.0
        if self.is_prompt:
            self._pace.take(now_seconds)
            return min(self._pace.due_in(now_seconds), beat_seconds)
        # All readers of an agent wake up together, so that their frames are packed and sent in one go.
        left_seconds = beat_seconds - now_seconds % beat_seconds
        return max(left_seconds, beat_seconds / 2)

    def haste_seconds(self, now_seconds: float) -> float:
        """As `pause_seconds`, in haste: a frame alone is read at once, a stream with each beat."""
        self._haste.take(now_seconds)
        return min(self._haste.due_in(now_seconds), self._haste.beat_seconds)
