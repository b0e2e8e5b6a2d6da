"""The value of one signal in Python numbers: what the columns must equal, and the way out beyond 64 bits."""

from __future__ import annotations

import math
import struct
from typing import Final

from can_stream.signals.model import Encoding, SignalModel

FLOAT_FORMATS: Final = {16: ">e", 32: ">f", 64: ">d"}
# Integers up to here are exact in binary64.
EXACT_IN_FLOAT: Final = 1 << 53


def raw_of(signal: SignalModel, data: bytes) -> int | float:
    """The raw value; `data` is at least `signal.needed_bytes` long."""
    if signal.big_endian:
        shift = len(data) * 8 - signal.start - signal.length
        bits = int.from_bytes(data, "big") >> shift
    else:
        bits = int.from_bytes(data, "little") >> signal.start
    bits &= (1 << signal.length) - 1
    if signal.encoding is Encoding.FLOAT:
        packed = bits.to_bytes(signal.length // 8, "big")
        value: float = struct.unpack(FLOAT_FORMATS[signal.length], packed)[0]
        return value
    if signal.encoding is Encoding.SIGNED and bits >> (signal.length - 1):
        bits -= 1 << signal.length
    return bits


def integer_scaling(signal: SignalModel) -> tuple[int, int] | None:
    """(scale, offset) where values of the signal are integers, None where they are floating point."""
    scale, offset = signal.scale, signal.offset
    whole = float(scale).is_integer() and float(offset).is_integer()
    return (int(scale), int(offset)) if whole and signal.encoding is not Encoding.FLOAT else None


def scaled(signal: SignalModel, raw: int | float) -> int | float:
    """The value of a raw value, with the type and the rounding of Python arithmetic."""
    if signal.scale == 1 and signal.offset == 0:
        return raw
    whole = integer_scaling(signal)
    if whole:
        return raw * whole[0] + whole[1]
    return raw * signal.scale + signal.offset


def needs_python(signal: SignalModel) -> bool:
    """Whether columns of 64 bits could lose something: wide signals, results beyond 64 bits, and products

    that Python keeps exact before it rounds.
    """
    if signal.encoding is Encoding.FLOAT:
        return False
    if signal.length > 64:
        return True
    low, high = signal.raw_limits
    whole = integer_scaling(signal)
    if whole:
        ends = sorted((scaled(signal, low), scaled(signal, high)))
        return not (fits_signed(ends[0], ends[1]) or fits_unsigned(ends[0], ends[1]))
    if isinstance(signal.scale, int):
        return max(-low, high) * abs(signal.scale) > EXACT_IN_FLOAT
    return high >= 1 << 63


def fits_signed(low: float, high: float) -> bool:
    """Whether all integers from low to high are int64."""
    return low >= -(1 << 63) and high < 1 << 63


def fits_unsigned(low: float, high: float) -> bool:
    """Whether all integers from low to high are uint64."""
    return low >= 0 and high < 1 << 64


def nearest_float(value: float) -> float:
    """`value` as binary64, infinite where it is too great."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
