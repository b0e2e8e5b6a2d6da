"""The names of values whose raw numbers are not at hand: those of signal packets."""

from __future__ import annotations

import math

from can_stream.signals.decoded import Value, choice_of
from can_stream.signals.exact import integer_scaling, scaled
from can_stream.signals.model import Encoding, SignalModel


def named(signal: SignalModel, value: int | float) -> Value:
    """The choice whose raw number scales to exactly `value`, the value itself where there is none.

    Of a float signal, where scaling may round, it is the choice of the nearest raw number.
    """
    if not signal.choices or not signal.scale or not math.isfinite(value):
        return value
    raw = _raw_of(signal, value)
    name = None if raw is None else choice_of(signal, raw)
    return value if name is None else name


def _raw_of(signal: SignalModel, value: int | float) -> int | float | None:
    whole = integer_scaling(signal)
    if whole:
        raw, rest = divmod(int(value) - whole[1], whole[0])
        return None if rest or value != int(value) else raw
    estimate = (value - signal.offset) / signal.scale
    if not math.isfinite(estimate):
        return None
    middle = round(estimate)
    near = (middle, middle - 1, middle + 1)
    if signal.encoding is Encoding.FLOAT:
        return next((raw for raw in near if scaled(signal, float(raw)) == value), estimate)
    return next((raw for raw in near if raw in signal.choices and scaled(signal, raw) == value), None)
