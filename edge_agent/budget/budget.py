"""The byte budget of a day: how much was sent, and what is still sent of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from edge_agent.config.signal_rules import SignalRule

SLOW_SECONDS: Final = 60.0
_DAY_NS: Final = 86_400 * 10**9
# At so many hundredths of the budget each stage begins.
_BEGINS: Final = (0, 80, 95, 100)
_SENT: Final = (
    "everything is sent",
    "frames are not sent",
    "frames are not sent, and signals at their maximum period only",
    "neither frames nor signals are sent",
)


class Stage(IntEnum):
    """What the budget still allows. Presence and status are sent at every stage, logs at all but the last."""

    EVERYTHING = 0
    NO_FRAMES = 1
    SLOW_SIGNALS = 2
    NO_SIGNALS = 3


class Spent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept over restarts: `bytes_sent` on `day`, UTC days since 1970; None while that is unknown."""

    day: Annotated[int, Meta(ge=0, le=200_000)] | None
    bytes_sent: Annotated[int, Meta(ge=0, le=1 << 60)]


class Budget:
    """Counts what was sent today. A day that is not known goes on until it is."""

    def __init__(self, max_bytes: int, spent: Spent | None = None) -> None:
        self.max_bytes: Final = max_bytes
        spent = spent or Spent(None, 0)
        self.bytes_today = spent.bytes_sent
        self._day = spent.day
        self._of_unknown_day = 0 if spent.day is not None else self.bytes_today

    @property
    def spent(self) -> Spent:
        """What is to be kept."""
        return Spent(self._day, self.bytes_today)

    @property
    def stage(self) -> Stage:
        """What is still sent."""
        hundredths = self.bytes_today * 100
        return Stage(sum(hundredths >= begin * self.max_bytes for begin in _BEGINS[1:]))

    @property
    def message(self) -> str:
        """How the budget stands, until when, and what to do about it."""
        used = f"{self.bytes_today:,} of {self.max_bytes:,} bytes of today's budget are spent"
        if self.stage is Stage.EVERYTHING:
            return f"{used}: {_SENT[0]}"
        remedy = "raise uplink.max_bytes_per_day, or send less with frame_filters, frames or signals"
        return f"{used}: {_SENT[self.stage]} until {self._end()}; {remedy}"

    def add_sent(self, size_bytes: int, wall_ns: int | None) -> None:
        """So much was sent since the last call; `wall_ns` is None while nobody knows what day it is."""
        if wall_ns is None:
            self._of_unknown_day += size_bytes
            self.bytes_today += size_bytes
            return
        day = wall_ns // _DAY_NS
        if day != self._day:
            self.bytes_today = self._of_unknown_day
            self._day = day
        self._of_unknown_day = 0
        self.bytes_today += size_bytes

    def _end(self) -> str:
        if self._day is None:
            return "midnight UTC, which comes when the clock is known"
        return f"{datetime.fromtimestamp((self._day + 1) * 86_400, UTC):%Y-%m-%d %H:%M} UTC"


def rules_at(stage: Stage, rules: Sequence[SignalRule]) -> list[SignalRule]:
    """What counts for signals: from SLOW_SIGNALS on at most one value in each maximum period."""
    if stage < Stage.SLOW_SIGNALS:
        return list(rules)
    return [*map(_slowed, rules), SignalRule("*", minimum_period_seconds=SLOW_SECONDS)]


def _slowed(rule: SignalRule) -> SignalRule:
    period_seconds = rule.maximum_period_seconds or max(SLOW_SECONDS, rule.minimum_period_seconds)
    return replace(rule, minimum_period_seconds=period_seconds)
