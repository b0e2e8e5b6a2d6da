"""What a batch of frames says: signal values in columns, and as Python objects where people read them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TypeAlias

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.signals.layout import Index, Words
from can_stream.signals.model import SignalModel
from can_stream.signals.table import SignalTable

Value: TypeAlias = int | float | str


# Not frozen only because that makes it a tenth of the time of a small batch to build.
class Decoded(Struct, eq=False):
    """The values of a `FrameBatch` of N frames: M values, ordered by frame.

    `message` intp[N]: the message in the table, -1 for unknown and error frames. A remote frame has a
    message and no values. `row` intp[M], `signal` uint32[M]: whose value. `kind` uint8[M], `bits` uint64[M]:
    the value as in `SignalBatch`. `raw` uint64[M]: the unscaled value in the kind of the signal's encoding.
    `undecoded_row`, `undecoded_signal`: signals that the frame should hold and that cannot be read from it,
    because its data is too short or its multiplexer has a value that the table does not know.
    `wide`: exact (raw, value) at those of the M places where either has more than 64 bits; `bits` is the
    nearest float there.
    """

    table: SignalTable
    message: Index
    row: Index
    signal: NDArray[np.uint32]
    kind: NDArray[np.uint8]
    bits: Words
    raw: Words
    undecoded_row: Index
    undecoded_signal: NDArray[np.uint32]
    wide: Mapping[int, tuple[int, int | float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.row)

    def signal_batch(self, frames: FrameBatch, where: NDArray[np.bool_] | None = None) -> SignalBatch:
        """The values (only those `where` true) with the times of the frames they were decoded from."""
        row, signal, kind, bits = self.row, self.signal, self.kind, self.bits
        if where is not None:
            at = where.nonzero()[0]
            row, signal, kind, bits = row.take(at), signal.take(at), kind.take(at), bits.take(at)
        return SignalBatch(self.table.hash, frames.timestamp_ns.take(row), signal, kind, bits)

    def message_name(self, row: int) -> str | None:
        """The message of one frame."""
        index = int(self.message[row])
        return None if index < 0 else self.table.messages[index].name

    def values_of(self, row: int, *, choices: bool = True) -> dict[str, Value]:
        """Name to value of one frame; with `choices` their names stand for the values that have one."""
        return dict(self._named_pairs(self._places(row), choices=choices))

    def raw_of(self, row: int) -> dict[str, int | float]:
        """Name to raw value of one frame."""
        return {self.table.signals[signal].name: raw for signal, raw, _ in self._numbers(self._places(row))}

    def undecoded_of(self, row: int) -> list[str]:
        """Names of the signals that could not be decoded from one frame."""
        low, high = np.searchsorted(self.undecoded_row, [row, row + 1])
        return [self.table.signals[signal].name for signal in self.undecoded_signal[low:high].tolist()]

    def rows(self, *, choices: bool = True) -> Iterator[dict[str, Value] | None]:
        """`values_of` every frame in order, None where the message is unknown."""
        counts = np.bincount(self.row, minlength=len(self.message)).tolist()
        named = self._named_pairs(slice(0, len(self)), choices=choices)
        for message, count in zip(self.message.tolist(), counts, strict=True):
            yield dict(islice(named, count)) if message >= 0 else None

    def _places(self, row: int) -> slice:
        low, high = np.searchsorted(self.row, [row, row + 1])
        return slice(int(low), int(high))

    def _named_pairs(self, places: slice, *, choices: bool) -> Iterator[tuple[str, Value]]:
        signals = self.table.signals
        for signal, raw, value in self._numbers(places):
            model = signals[signal]
            name = choice_of(model, raw) if choices and model.choices else None
            yield model.name, value if name is None else name

    def _numbers(self, places: slice) -> Iterator[tuple[int, int | float, int | float]]:
        """(signal, raw, value) of each place."""
        signals = self.signal[places].tolist()
        raw = numbers_of(self.table.raw_kind[self.signal[places]], self.raw[places])
        values = numbers_of(self.kind[places], self.bits[places])
        for place, found in enumerate(zip(signals, raw, values, strict=True), places.start):
            exact = self.wide.get(place) if self.wide else None
            yield (found[0], *exact) if exact else found


def numbers_of(kind: NDArray[np.uint8], bits: Words) -> list[int | float]:
    """64-bit words as the Python numbers that their `ValueKind` makes them."""
    # In the order of ValueKind.
    readings = zip(bits.view(np.float64).tolist(), bits.view(np.int64).tolist(), bits.tolist(), strict=True)
    return [reading[which] for which, reading in zip(kind.tolist(), readings, strict=True)]


def choice_of(signal: SignalModel, raw: int | float) -> str | None:
    """The name of a raw value, None where it has none; floats are cut to integers."""
    if isinstance(raw, float):
        if not math.isfinite(raw):
            return None
        raw = int(raw)
    return signal.choices.get(raw)
