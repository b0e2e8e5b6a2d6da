"""What simulated signals do in time: count, move up and down, go through their choices."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from random import Random
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from can_stream.signals.exact import integer_scaling, scaled
from can_stream.signals.layout import Index, Words
from can_stream.signals.model import Encoding, SignalModel

# Least and greatest value of a signal, None where the database has none.
Limits: TypeAlias = tuple[float | None, float | None]
_COUNTER_NAME: Final = re.compile(r"(?i)counter|cnt|alive|rolling")
_COUNTER_BITS: Final = range(2, 5)
# Raw values beyond are left out, so that all sums stay within 64 bits.
_MAX_RAW: Final = 1 << 61
# Floats without limits, and those whose limits are only what the type can hold.
_SANE_FLOAT: Final = 1e6
_FREE_FLOATS: Final = (0.0, 100.0)
_SLOWEST_SECONDS, _FASTEST_SECONDS = 20.0, 5.0
# Type, bits, and how great such a float may be.
_FLOAT_TYPES: Final = {
    16: (np.float16, np.uint16, 65504.0),
    32: (np.float32, np.uint32, 3e38),
    64: (np.float64, np.uint64, 1e300),
}


class Values:
    """What each signal does in time: it counts, is swept up and down, or goes through its choices."""

    def __init__(self, pairs: Sequence[tuple[SignalModel, Limits]], dice: Random) -> None:
        ranges = [raw_range(signal, *limits) for signal, limits in pairs]
        steps = [_steps(signal, *ends) for (signal, _), ends in zip(pairs, ranges, strict=True)]
        ends = [_swept(signal, *both) for (signal, _), both in zip(pairs, ranges, strict=True)]
        self._low = np.array([low for low, _ in ends], np.int64)
        self._span = np.array([high - low for low, high in ends], np.int64)
        self._counts = np.array([_is_counter(signal) for signal, _ in pairs], np.bool_)
        self._step_count = np.array([len(values) for values in steps], np.int64)
        self._step_first = np.cumsum(self._step_count) - self._step_count
        self._step = np.array([value for values in steps for value in values], np.int64)
        self._float_bits = np.array(
            [signal.length if signal.encoding is Encoding.FLOAT else 0 for signal, _ in pairs], np.int64
        )
        floats = [_float_range(signal, *limits) for signal, limits in pairs]
        self._float_low = np.array([low for low, _ in floats], np.float64)
        self._float_span = np.array([high - low for low, high in floats], np.float64)
        self._is_ramp = np.array([dice.random() < 0.5 for _ in pairs], np.bool_)
        self._phase = np.array([dice.random() for _ in pairs], np.float64)
        seconds = [dice.uniform(_FASTEST_SECONDS, _SLOWEST_SECONDS) for _ in pairs]
        self._period_ns = np.array(seconds, np.float64) * 1e9

    def raw(self, signal: Index, time_ns: NDArray[np.int64], number: NDArray[np.int64]) -> Words:
        """uint64[N]: the bits of each `signal` at its time; `number` says how often it was there before."""
        turn = (time_ns / self._period_ns[signal] + self._phase[signal]) % 1.0
        part = np.where(self._is_ramp[signal], 1 - np.abs(2 * turn - 1), (1 - np.cos(2 * np.pi * turn)) / 2)
        span = self._span[signal]
        moved = np.minimum((part * (span + 1)).astype(np.int64), span)
        raw = self._low[signal] + np.where(self._counts[signal], number % (span + 1), moved)
        stepping = np.flatnonzero(self._step_count[signal])
        which = signal[stepping]
        raw[stepping] = self._step[
            self._step_first[which] + (turn[stepping] * self._step_count[which]).astype(np.int64)
        ]
        bits = raw.view(np.uint64)
        for size, (float_type, word_type, _) in _FLOAT_TYPES.items():
            at = np.flatnonzero(self._float_bits[signal] == size)
            values = self._float_low[signal[at]] + part[at] * self._float_span[signal[at]]
            bits[at] = values.astype(float_type).view(word_type)
        return bits


def raw_range(signal: SignalModel, minimum: float | None, maximum: float | None) -> tuple[int, int]:
    """The least and greatest raw integer whose value is within the limits; all where none is."""
    lowest, highest = signal.raw_limits
    lowest, highest = max(lowest, -_MAX_RAW), min(highest, _MAX_RAW)
    numbers = range(lowest, highest + 1)
    if signal.scale < 0:
        numbers = numbers[::-1]
    begin = 0 if minimum is None else bisect_left(numbers, minimum, key=lambda raw: scaled(signal, raw))
    end = len(numbers)
    if maximum is not None:
        end = bisect_right(numbers, maximum, key=lambda raw: scaled(signal, raw))
    if begin >= end:
        return lowest, highest
    ends = numbers[begin], numbers[end - 1]
    return min(ends), max(ends)


def _is_counter(signal: SignalModel) -> bool:
    if signal.encoding is Encoding.FLOAT:
        return False
    if _COUNTER_NAME.search(signal.name):
        return True
    is_plain = signal.encoding is Encoding.UNSIGNED and integer_scaling(signal) == (1, 0)
    return is_plain and signal.length in _COUNTER_BITS and not signal.choices and not signal.unit


def _steps(signal: SignalModel, low: int, high: int) -> list[int]:
    """The named raw values to go through, none where the names are only those of special values."""
    named = [raw for raw in sorted(signal.choices) if low <= raw <= high]
    is_enumeration = len(named) > 1 and named[0] <= (low + high) // 2
    return named if is_enumeration and signal.encoding is not Encoding.FLOAT else []


def _swept(signal: SignalModel, low: int, high: int) -> tuple[int, int]:
    """The raw values to sweep: without the named ones at the upper end ("error", "not available")."""
    special = [raw for raw in signal.choices if (low + high) // 2 < raw <= high]
    return low, max(min(special) - 1, low) if special else high


def _float_range(signal: SignalModel, minimum: float | None, maximum: float | None) -> tuple[float, float]:
    """The least and greatest raw float, a little inside the limits; (0, 0) where the scale makes none."""
    if signal.encoding is not Encoding.FLOAT:
        return 0.0, 0.0
    low = max(-_SANE_FLOAT, minimum) if minimum is not None else min(_FREE_FLOATS[0], maximum or 0.0)
    high = min(_SANE_FLOAT, maximum) if maximum is not None else max(_FREE_FLOATS[1], low + _FREE_FLOATS[1])
    if low > high:
        low, high = minimum or 0.0, maximum or 0.0
    margin = (high - low) / 1000
    if not signal.scale or not math.isfinite(low + high + signal.scale + signal.offset):
        return 0.0, 0.0
    ends = ((end - signal.offset) / signal.scale for end in (low + margin, high - margin))
    most = _FLOAT_TYPES[signal.length][2]
    first, last = (min(max(end, -most), most) for end in ends)
    return first, last
