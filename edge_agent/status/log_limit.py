"""Which log lines are worth the uplink: the first of a kind at once, the rest of it summed up."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from msgspec import Struct

FIRST_PAUSE_SECONDS: Final = 10.0
LONGEST_PAUSE_SECONDS: Final = 3600.0
MAX_KINDS: Final = 256
MOST_PER_PAUSE: Final = 40
OTHERS: Final = "others"


class _Kind(Struct):
    pause_seconds: float
    ends_seconds: float
    held_back: int = 0

    def again(self, now_seconds: float) -> None:
        """A longer pause begins; the first where the last one ended long ago."""
        is_old = now_seconds >= self.ends_seconds + LONGEST_PAUSE_SECONDS
        longer = min(2 * self.pause_seconds, LONGEST_PAUSE_SECONDS)
        self.pause_seconds = FIRST_PAUSE_SECONDS if is_old else longer
        self.ends_seconds = now_seconds + self.pause_seconds


class LogLimit:
    """After a line of a kind others of it are held back for a pause, which doubles while they keep coming.

    Whatever their kinds, at most `MOST_PER_PAUSE` lines pass in ten seconds. `MAX_KINDS` are known at a time;
    what was held back of older ones counts as `OTHERS`.
    """

    def __init__(self) -> None:
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()
        self._forgotten = 0
        self._window_ends_seconds = float("-inf")
        self._passed = 0

    def passes(self, kind: Hashable, now_seconds: float) -> bool:
        """Whether this line is to go at once; else it is counted."""
        known = self._kinds.get(kind)
        is_new = known is None
        if known is None:
            known = self._kinds[kind] = _Kind(FIRST_PAUSE_SECONDS, now_seconds + FIRST_PAUSE_SECONDS)
            self._forget_oldest()
        self._kinds.move_to_end(kind)
        in_pause = not is_new and (now_seconds < known.ends_seconds or known.held_back > 0)
        if in_pause or not self._has_room(now_seconds):
            known.held_back += 1
            return False
        if not is_new:
            known.again(now_seconds)
        self._passed += 1
        return True

    def summaries(self, now_seconds: float) -> list[tuple[Hashable, int]]:
        """Kinds whose pause is over, and how many of each were held back: to be told now."""
        due: list[tuple[Hashable, int]] = [(OTHERS, self._forgotten)] if self._forgotten else []
        self._forgotten = 0
        for kind, known in self._kinds.items():
            if known.held_back and now_seconds >= known.ends_seconds:
                due.append((kind, known.held_back))
                known.held_back = 0
                known.again(now_seconds)
        return due

    def _has_room(self, now_seconds: float) -> bool:
        if now_seconds >= self._window_ends_seconds:
            self._window_ends_seconds = now_seconds + FIRST_PAUSE_SECONDS
            self._passed = 0
        return self._passed < MOST_PER_PAUSE

    def _forget_oldest(self) -> None:
        while len(self._kinds) > MAX_KINDS:
            _, oldest = self._kinds.popitem(last=False)
            self._forgotten += oldest.held_back
