"""An entry of `gate`: frames go only while a value on a bus of this gateway lies within bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from can_stream.protocol.identity import Identifier

MAX_GATES: Final = 32
_SignalName = Annotated[str, Meta(pattern=r"^[^.\s]+\.[^.\s]+$", max_length=256)]


class GateEntry(msgspec.Struct, frozen=True):
    """`signal` is "MESSAGE.SIGNAL" of the databases of `dongle`; None: of the bus that is to be sent on.

    The bounds are in the signal's unit and belong to what is permitted. A value is known for
    `fresh_seconds` from when its frame was read at the earliest.
    """

    signal: _SignalName
    dongle: Identifier | None = None
    min: float | None = None
    max: float | None = None
    equal: float | None = None
    fresh_seconds: Annotated[float, Meta(gt=0, le=3600)] = 1.0

    def problems(self) -> Iterable[tuple[str, str]]:
        """No bound, one that is no number, bounds that no value fits."""
        bounds = {"min": self.min, "max": self.max, "equal": self.equal}
        given = {name: bound for name, bound in bounds.items() if bound is not None}
        if not given:
            yield "max", "is missing: say what permits frames, with `min`, `max`, both, or `equal`"
        for name, bound in given.items():
            if not math.isfinite(bound):
                yield name, "must be a finite number"
        if self.equal is not None and len(given) > 1:
            yield "equal", "stands alone: leave out `min` and `max`, or `equal`"
        elif self.min is not None and self.max is not None and self.min > self.max:
            yield "max", f"is less than `min`, which is {self.min:g}: no value would do"

    def permits(self, value: float) -> bool:
        """Whether frames may go while this is the value; not where it is no number."""
        if math.isnan(value):
            return False
        return (
            (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
            and (self.equal is None or value == self.equal)
        )

    @property
    def bounds(self) -> str:
        """What is permitted: `at least 1 and at most 2`."""
        if self.equal is not None:
            return f"equal to {self.equal:g}"
        said = (("at least", self.min), ("at most", self.max))
        return " and ".join(f"{words} {bound:g}" for words, bound in said if bound is not None)
