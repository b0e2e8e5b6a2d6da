"""Which log lines are worth their place: the first of a kind at once, the rest of it summed up. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, NamedTuple

from msgspec import Struct

MAX_KINDS: Final = 256
OTHERS: Final = "others"


class Pace(NamedTuple):
    """How fast lines may come: so many of a kind, then a pause, which doubles while they keep coming.

    Whatever their kinds, at most `most_at_once` pass within `first_pause_seconds`.
    """

    first: int
    first_pause_seconds: float
    longest_pause_seconds: float
    most_at_once: int


class _Kind(Struct):
    pause_seconds: float
    ends_seconds: float
    passed: int = 0
    held_back: int = 0


class LogLimit:
    """After the first lines of a kind others of it are held back until its pause is over.

    `MAX_KINDS` are known at a time; what was held back of older ones counts as `OTHERS`.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()
        self._forgotten = 0
        self._window_ends_seconds = float("-inf")
        self._passed = 0

    def passes(self, kind: Hashable, now_seconds: float, weight: int = 1) -> bool:
        """Whether this line is to go at once; else it is counted. `weight`: as many lines it takes."""
        known = self._kinds.get(kind)
        if known is None:
            pause = self._pace.first_pause_seconds
            known = self._kinds[kind] = _Kind(pause, now_seconds + pause)
            self._forget_oldest()
        elif now_seconds >= known.ends_seconds and not known.held_back:
            self._pause_again(known, now_seconds)
        self._kinds.move_to_end(kind)
        if known.held_back or known.passed >= self._pace.first or not self._has_room(now_seconds):
            known.held_back += 1
            return False
        known.passed += weight
        self._passed += weight
        return True

    def summaries(self, now_seconds: float) -> list[tuple[Hashable, int]]:
        """Kinds whose pause is over, and how many of each were held back: to be told now."""
        due: list[tuple[Hashable, int]] = [(OTHERS, self._forgotten)] if self._forgotten else []
        self._forgotten = 0
        for kind, known in self._kinds.items():
            if known.held_back and now_seconds >= known.ends_seconds:
                due.append((kind, known.held_back))
                self._pause_again(known, now_seconds)
                known.held_back, known.passed = 0, self._pace.first
        return due

    def _pause_again(self, known: _Kind, now_seconds: float) -> None:
        """A longer pause; the first where the last one ended long ago."""
        longest = self._pace.longest_pause_seconds
        is_old = now_seconds >= known.ends_seconds + longest
        longer = min(2 * known.pause_seconds, longest)
        known.pause_seconds = self._pace.first_pause_seconds if is_old else longer
        known.ends_seconds = now_seconds + known.pause_seconds
        known.passed = 0

    def _has_room(self, now_seconds: float) -> bool:
        if now_seconds >= self._window_ends_seconds:
            self._window_ends_seconds = now_seconds + self._pace.first_pause_seconds
            self._passed = 0
        return self._passed < self._pace.most_at_once

    def _forget_oldest(self) -> None:
        while len(self._kinds) > MAX_KINDS:
            _, oldest = self._kinds.popitem(last=False)
            self._forgotten += oldest.held_back
