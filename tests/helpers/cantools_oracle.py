"""cantools as the oracle: what it gives for a payload must come out with the same value and type."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from can_stream.databases.findings import Findings
from can_stream.databases.loading import load_databases, parse_database
from can_stream.frames.batches import FD_LENGTHS, FrameBatch, FrameFlag, batch_of
from can_stream.signals.decoded import Value
from can_stream.signals.evaluate import decode
from can_stream.signals.table import SignalTable

if TYPE_CHECKING:
    from cantools.database import Database
    from cantools.database.can import Message, Signal


def load_both(path: Path) -> tuple[SignalTable, Database]:
    """Our table and cantools' model of the same file."""
    return load_databases([path]).table, parse_database(path, Findings(path)).database


def frames_of(rows: Sequence[tuple[int, bool, bytes]]) -> FrameBatch:
    """A batch from (arbitration id, is extended, data); data of more than 8 bytes makes an FD frame."""
    return batch_of(
        (
            1_000 * number,
            arbitration_id,
            (FrameFlag.EXTENDED if is_extended else 0) | (FrameFlag.FD if len(data) > 8 else 0),
            len(data),
            data,
        )
        for number, (arbitration_id, is_extended, data) in enumerate(rows)
    )


def possible_length(length: int) -> int:
    """The shortest data a frame can have that is at least so long, 64 where none is."""
    return next((size for size in FD_LENGTHS if size >= length), FD_LENGTHS[-1])


def random_data(message: Message, dice: random.Random) -> bytes:
    """A payload of a message's length; its multiplexers often have values that exist."""
    size = possible_length(message.length)
    bits = int.from_bytes(dice.choice((b"\0" * size, b"\xff" * size, *[dice.randbytes(size)] * 6)), "little")
    for signal in message.signals:
        ids = [value for other in message.signals if other.multiplexer_signal == signal.name
               for value in other.multiplexer_ids or ()]  # fmt: skip
        if ids and dice.random() < 0.8:
            bits = _with_value(bits, size, signal, dice.choice(ids))
    return (bits & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def _with_value(bits: int, size: int, signal: Signal, value: int) -> int:
    """`bits` (little-endian) with the raw value of one signal."""
    if signal.byte_order == "big_endian":
        swapped = int.from_bytes(bits.to_bytes(size, "little"), "big")
        shift = 8 * size - (signal.start // 8 * 8 + 7 - signal.start % 8) - signal.length
    else:
        swapped, shift = bits, signal.start
    if shift < 0:
        return bits
    mask = ((1 << signal.length) - 1) << shift
    swapped = swapped & ~mask | value << shift & mask
    swapped &= (1 << 8 * size) - 1
    if signal.byte_order == "big_endian":
        return int.from_bytes(swapped.to_bytes(size, "little"), "big")
    return swapped


def expected(message: Message, data: bytes, *, choices: bool) -> dict[str, Any] | None:
    """What cantools gives, None where it refuses."""
    try:
        return dict(message.decode_simple(data, decode_choices=choices, scaling=True))
    except Exception:  # cantools raises whatever its parts raise
        return None


def difference(ours: dict[str, Value], theirs: Mapping[str, Any]) -> str:
    """Why the two are not the same values of the same types, "" where they are."""
    if ours.keys() != theirs.keys():
        return f"names differ: {ours.keys() ^ theirs.keys()}"
    for name, value in theirs.items():
        mine = ours[name]
        plain = value if isinstance(value, (int, float)) else str(value)
        if type(mine) is not type(plain):
            return f"{name}: {mine!r} is no {type(plain).__name__} {plain!r}"
        if isinstance(plain, float) and isinstance(mine, float):
            same = mine == plain and math.copysign(1, mine) == math.copysign(1, plain)
            if not same and not (math.isnan(mine) and math.isnan(plain)):
                return f"{name}: {mine!r} != {plain!r}"
        elif mine != plain:
            return f"{name}: {mine!r} != {plain!r}"
    return ""


def compare(
    table: SignalTable, rows: Sequence[tuple[Message, bytes]], ids: Sequence[int] | None = None
) -> tuple[int, int, list[str]]:
    """(frames equal, frames cantools refuses, differences) of payloads, with and without choices.

    `ids`: those of the frames, where they are not the messages' own.
    """
    numbers = [message.frame_id for message, _ in rows] if ids is None else ids
    batch = frames_of(
        [(at, bool(m.is_extended_frame), data) for at, (m, data) in zip(numbers, rows, strict=True)]
    )
    decoded = decode(table, batch)
    equal, refused, differences = 0, 0, []
    both = zip(rows, decoded.rows(choices=True), decoded.rows(choices=False), strict=True)
    for (message, data), named, plain in both:
        assert named is not None
        assert plain is not None
        with_choices = expected(message, data, choices=True)
        without = expected(message, data, choices=False)
        if with_choices is None or without is None:
            refused += 1
            continue
        problem = difference(named, with_choices) or difference(plain, without)
        equal += not problem
        if problem:
            differences.append(f"{message.name} {data.hex()}: {problem}")
    return equal, refused, differences
