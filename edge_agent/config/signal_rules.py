"""What `[[dongles.signals]]` may say of the values that a signals lane carries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Final

import msgspec
from msgspec import Meta

MAX_RULES: Final = 1024

Seconds = Annotated[float, Meta(ge=0, le=86_400 * 365)]


class SignalRule(msgspec.Struct, frozen=True):
    """[[dongles.signals]]: how values of the signals that `match` names are sent."""

    match: Annotated[str, Meta(min_length=1, max_length=256)]
    deadband: Annotated[float, Meta(ge=0)] = 0.0
    minimum_period_seconds: Seconds = 0.0
    maximum_period_seconds: Seconds | None = None
    send: bool = True

    def problems(self) -> Iterable[tuple[str, str]]:
        """Periods that contradict each other, numbers that are none."""
        if not math.isfinite(self.deadband):
            yield "deadband", "expected a finite number"
        longest = self.maximum_period_seconds
        if longest is not None and longest < max(self.minimum_period_seconds, 1e-3):
            yield "maximum_period_seconds", "must be at least `minimum_period_seconds`, and 0.001"

    @property
    def is_every_change(self) -> bool:
        """Whether it says no more than the default."""
        return not (self.deadband or self.minimum_period_seconds or self.maximum_period_seconds is not None)


def rule_of(name: str, rules: Sequence[SignalRule]) -> SignalRule | None:
    """The first rule that matches a signal, named MESSAGE.SIGNAL."""
    return next((rule for rule in rules if fnmatchcase(name, rule.match)), None)
