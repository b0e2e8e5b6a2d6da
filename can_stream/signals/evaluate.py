"""Decode a batch of frames with a signal table, in whole columns."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import CLASSIC_DATA_BYTES, FrameBatch, FrameFlag, ValueKind
from can_stream.signals.decoded import Decoded
from can_stream.signals.exact import fits_signed, fits_unsigned, nearest_float, raw_of, scaled
from can_stream.signals.layout import RESCALED, Index, Layout, Words
from can_stream.signals.matching import UNKNOWN
from can_stream.signals.nodes import NO_NODE
from can_stream.signals.selecting import expand
from can_stream.signals.table import SignalTable

# So many frames and their values stay in the cache.
SLICE_FRAMES: Final = 2048
_ROWS: Final = np.arange(SLICE_FRAMES)
_NO_SIGNALS: Final = np.zeros(0, np.uint32)
_REMOTE: Final = np.uint8(FrameFlag.REMOTE)
_FD: Final = np.uint8(FrameFlag.FD)
_MASK: Final = (1 << 64) - 1
_FLOAT_TYPES: Final = {16: (np.uint16, np.float16), 32: (np.uint32, np.float32)}

# Raw values, value bits, kinds.
_Columns: TypeAlias = tuple[Words, Words, NDArray[np.uint8]]


def decode(table: SignalTable, batch: FrameBatch) -> Decoded:
    """Every value that `batch` holds, and what of it cannot be decoded."""
    if len(batch) <= SLICE_FRAMES:
        return _decode_slice(table, batch)
    starts = range(0, len(batch), SLICE_FRAMES)
    parts = [_decode_slice(table, batch[start : start + SLICE_FRAMES]) for start in starts]
    wide, place = {}, 0
    for part in parts:
        wide.update({place + at: exact for at, exact in part.wide.items()})
        place += len(part)
    return Decoded(
        table,
        np.concatenate([part.message for part in parts]),
        np.concatenate([part.row + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.signal for part in parts]),
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.bits for part in parts]),
        np.concatenate([part.raw for part in parts]),
        np.concatenate([part.undecoded_row + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.undecoded_signal for part in parts]),
        wide,
    )


def _decode_slice(table: SignalTable, batch: FrameBatch) -> Decoded:
    layout = table.layout
    flags = int(np.bitwise_or.reduce(batch.flags)) if len(batch) else 0
    message = table.matcher.match(batch, flags)
    # The root of a message is the node of its number; UNKNOWN, -1, is the last node, which has no entries.
    node = np.where(batch.flags & _REMOTE, UNKNOWN, message) if flags & _REMOTE else message
    frames = _Frames(layout, batch)
    row, lost = _ROWS[: len(batch)], _Lost()
    if layout.has_selectors:
        row, node = _select(table, frames, row, node, lost)
    row, entry = _entries(table, frames, row, node, lost)
    raw = _read(layout, frames, row, entry)
    columns = _values(layout, entry, raw)
    wide: dict[int, tuple[int, int | float]] = {}
    if layout.has_exact:
        columns, wide = _recompute(table, batch, row, entry, columns)
    raw, bits, kind = columns
    return Decoded(table, message, row, layout.signal.take(entry), kind, bits, raw, *lost.pairs(), wide)


class _Frames:
    """The words of all frames, how long their data is, and where entries are in frames of this width."""

    __slots__ = ("length", "place", "shortest", "words")

    def __init__(self, layout: Layout, batch: FrameBatch) -> None:
        is_classic = batch.width == CLASSIC_DATA_BYTES
        self.place = layout.classic if is_classic else layout.fd
        # A classic frame's raw length code above 8 is more than anything asks of a batch of 8 columns.
        self.length = batch.length if is_classic else _data_length(batch)
        self.shortest = int(self.length.min(initial=0xFF))
        self.words = _words_of(layout, batch)


class _Lost:
    """Pairs of row and signal that cannot be decoded, as they are found."""

    __slots__ = ("row", "signal")

    def __init__(self) -> None:
        self.row: list[Index] = []
        self.signal: list[NDArray[np.uint32]] = []

    def add_pairs(self, row: Index, signal: NDArray[np.uint32]) -> None:
        self.row.append(row)
        self.signal.append(signal)

    def pairs(self) -> tuple[Index, NDArray[np.uint32]]:
        """All of them, ordered by row and signal."""
        if not self.row:
            return _ROWS[:0], _NO_SIGNALS
        row, signal = np.concatenate(self.row), np.concatenate(self.signal)
        order = np.lexsort((signal, row))
        return row[order], signal[order]


def _data_length(batch: FrameBatch) -> NDArray[np.uint8]:
    """Bytes of data of each frame in a batch of FD width; remote frames are none of its business."""
    if np.bitwise_and.reduce(batch.flags, initial=_FD) & _FD:
        return batch.length
    bounded = np.minimum(batch.length, np.uint8(CLASSIC_DATA_BYTES))
    return np.where(batch.flags & _FD, batch.length, bounded)


def _words_of(layout: Layout, batch: FrameBatch) -> Words:
    """The words of all frames, one after another: as little-endian, then the same frame's as big-endian."""
    data = np.ascontiguousarray(batch.data)
    little: Words = data.view("<u8").astype(np.uint64, copy=False)
    if not layout.has_big:
        return little.reshape(-1)
    both = np.empty((len(data), 2 * little.shape[1]), np.uint64)
    both[:, : little.shape[1]] = little
    both[:, little.shape[1] :] = data.view(">u8")
    return both.reshape(-1)


def _select(table: SignalTable, frames: _Frames, row: Index, node: Index, lost: _Lost) -> tuple[Index, Index]:
    """Every (row, node) with the nodes that its selectors lead to behind it, however deep."""
    layout = table.layout
    rows, nodes = [row], [node]
    for _ in range(layout.depth):
        at = layout.selector_count.take(node).nonzero()[0]
        if not len(at):
            break
        row, node = row.take(at), node.take(at)
        places = layout.selector_end.take(node)
        if layout.has_forks:
            row, places = expand(row, places, layout.selector_count.take(node))
        else:
            places -= 1
        row, node = _follow(table, frames, row, layout.selector.take(places), lost)
        rows.append(row)
        nodes.append(node)
    if len(rows) == 1:
        return row, node
    row = np.concatenate(rows)
    order = row.argsort(kind="stable")
    return row.take(order), np.concatenate(nodes).take(order)


def _follow(
    table: SignalTable, frames: _Frames, row: Index, entry: Index, lost: _Lost
) -> tuple[Index, Index]:
    """The (row, node) that selectors lead to; what is below one that cannot be read or known is lost."""
    signal = table.layout.signal.take(entry)
    fits = frames.place.entry_bytes.take(entry) <= frames.length.take(row)
    if not fits.all():
        lost.add_pairs(*table.selection.below(row[~fits], signal[~fits]))
        row, entry, signal = row[fits], entry[fits], signal[fits]
    node = table.selection.nodes_for(signal, _read(table.layout, frames, row, entry))
    known = node != NO_NODE
    if not known.all():
        lost.add_pairs(*table.selection.below(row[~known], signal[~known]))
        row, node = row[known], node[known]
    return row, node


def _entries(
    table: SignalTable, frames: _Frames, row: Index, node: Index, lost: _Lost
) -> tuple[Index, Index]:
    """(row, entry) of all entries of each (row, node) that fit the data."""
    layout, place = table.layout, frames.place
    is_short = (
        frames.shortest < place.most_bytes and (place.node_bytes.take(node) > frames.length.take(row)).any()
    )
    row, entry = expand(row, layout.node_end.take(node), layout.node_count.take(node))
    if is_short:
        fits = place.entry_bytes.take(entry) <= frames.length.take(row)
        lost.add_pairs(row[~fits], layout.signal[entry[~fits]])
        row, entry = row[fits], entry[fits]
    return row, entry


def _read(layout: Layout, frames: _Frames, row: Index, entry: Index) -> Words:
    """The raw bits of each entry, sign-extended; floats are still in their own format."""
    place, words = frames.place, frames.words
    stride = place.words * (2 if layout.has_big else 1)
    at = row if stride == 1 else row * stride + place.word.take(entry)
    raw = words.take(at)
    if layout.has_crossing:
        crossing = layout.crosses.take(entry).nonzero()[0]
        if len(crossing):
            raw[crossing] = _join(layout, words, at[crossing], entry[crossing])
    raw <<= layout.up.take(entry)
    down = layout.down.take(entry)
    if not layout.has_signs:
        raw >>= down.view(np.uint64)
        return raw
    signed = raw.view(np.int64)
    signed >>= down
    raw &= layout.mask.take(entry)
    return raw


def _join(layout: Layout, words: Words, at: Index, entry: Index) -> Words:
    """Bits from two adjacent words, the last one at the lower end; what is above them is not cut off."""
    first, second = words[at], words[at + 1]
    into = layout.into_next[entry]
    back = np.uint64(64) - into
    little = (first >> back) | (second << into)
    joined: Words = np.where(layout.big_endian[entry], (first << into) | (second >> back), little)
    return joined


def _values(layout: Layout, entry: Index, raw: Words) -> _Columns:
    """Raw values (floats now as binary64), value bits and kinds."""
    kind = layout.kind.take(entry)
    if not layout.has_scaling:
        return raw, raw, kind
    with np.errstate(all="ignore") if layout.may_overflow else nullcontext():
        if not layout.has_plain:
            narrow, bits = _scale(layout, entry, raw)
            return narrow, bits, kind
        at = layout.scaling.take(entry).nonzero()[0]
        bits = raw.copy()
        narrow, bits[at] = _scale(layout, entry.take(at), raw.take(at))
    if layout.float_sizes:
        raw = raw.copy()
        raw[at] = narrow
    return raw, bits, kind


def _scale(layout: Layout, entry: Index, raw: Words) -> tuple[Words, Words]:
    """Raw values and value bits of entries that are floating point or rescaled integers."""
    number = raw.view(np.int64).astype(np.float64)
    if layout.float_sizes:
        raw = raw.copy()
        _widen_floats(layout, entry, raw, number)
    number *= layout.scale.take(entry)
    if layout.has_offsets:
        number += layout.offset.take(entry)
    bits = number.view(np.uint64)
    if layout.has_rescaled:
        at = (layout.scaling.take(entry) == RESCALED).nonzero()[0]
        if len(at):
            which = entry.take(at)
            bits[at] = raw.take(at) * layout.integer_scale.take(which) + layout.integer_offset.take(which)
    return raw, bits


def _widen_floats(layout: Layout, entry: Index, raw: Words, number: NDArray[np.float64]) -> None:
    """Turn the bits of floats into binary64, in `raw` and in `number`."""
    float_bits = layout.float_bits.take(entry)
    for size in layout.float_sizes:
        at = (float_bits == size).nonzero()[0]
        narrow = raw.take(at)
        if size in _FLOAT_TYPES:
            bits, kind = _FLOAT_TYPES[size]
            narrow = narrow.astype(bits).view(kind).astype(np.float64).view(np.uint64)
        raw[at] = narrow
        number[at] = narrow.view(np.float64)


def _recompute(
    table: SignalTable, frames: FrameBatch, row: Index, entry: Index, columns: _Columns
) -> tuple[_Columns, dict[int, tuple[int, int | float]]]:
    """The columns with what 64 bits cannot hold put right in Python numbers, and what needs more bits."""
    raw, bits, kind = columns[0].copy(), columns[1].copy(), columns[2]
    wide = {}
    for place in np.flatnonzero(table.layout.is_exact[entry]).tolist():
        signal = table.signals[table.layout.signal[entry[place]]]
        exact = int(raw_of(signal, frames.data[row[place]].tobytes()))
        value = scaled(signal, exact)
        if isinstance(value, int) and (fits_signed(value, value) or fits_unsigned(value, value)):
            kind[place] = ValueKind.SIGNED if value < 0 else ValueKind.UNSIGNED
            bits[place] = value & _MASK
        else:
            kind[place] = ValueKind.FLOAT
            bits[place] = np.float64(nearest_float(value)).view(np.uint64)
        raw[place] = exact & _MASK
        if signal.length > 64 or (isinstance(value, int) and kind[place] == ValueKind.FLOAT):
            wide[place] = exact, value
    return (raw, bits, kind), wide
