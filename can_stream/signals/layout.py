"""The table as numpy columns: where each signal's bits are and how they become a value.

An entry is a signal in a node; entries of a node are adjacent, so that a frame's signals are a range.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.frames.batches import CLASSIC_DATA_BYTES, FD_DATA_BYTES, ValueKind
from can_stream.signals.exact import integer_scaling, needs_python, scaled
from can_stream.signals.model import Encoding, SignalModel
from can_stream.signals.nodes import Nodes

Words: TypeAlias = NDArray[np.uint64]
Index: TypeAlias = NDArray[np.intp]
WORD_BITS: Final = 64
_MASK: Final = (1 << WORD_BITS) - 1
# More than any frame has.
_NEVER: Final = FD_DATA_BYTES + 1
# Results beyond this make numpy warn; below, no integer of 64 bits can reach them.
_SAFE_SCALE: Final = 1e280
# In `Layout.scaling`: the value is the raw value, floating point, another integer.
PLAIN: Final = 0
FLOATING: Final = 1
RESCALED: Final = 2


class Placement(Struct, frozen=True, eq=False):
    """How much data each node (`node_bytes`) and entry (`entry_bytes`) needs and which word an entry reads,

    for frames of so many words: first all words read as little-endian, then all read as big-endian where
    the table `has_big`. `most_bytes`: what the neediest entry needs.
    """

    node_bytes: NDArray[np.uint8]
    entry_bytes: NDArray[np.uint8]
    word: Index
    words: int
    most_bytes: int


class Layout(Struct, frozen=True, eq=False):
    """Columns per entry, and per node its entries; the last node has none.

    A raw value is its word shifted left by `up`, then right by `down` with the sign, then cut to `mask`.
    `integer_scale`, `integer_offset` modulo 2^64. `float_bits`: 16, 32, 64 for floats.
    `crosses`: the signal goes on in the next word. `node_end`: first entry plus count of each node.
    `selector`: the entries that are selectors, node by node as `selector_end`, `selector_count` say.
    The `has_` flags say that a column is needed at all.
    """

    classic: Placement
    fd: Placement
    signal: NDArray[np.uint32]
    up: Words
    down: NDArray[np.int64]
    mask: Words
    kind: NDArray[np.uint8]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    integer_scale: Words
    integer_offset: Words
    float_bits: NDArray[np.uint8]
    scaling: NDArray[np.uint8]
    is_exact: NDArray[np.bool_]
    selector: Index
    selector_end: Index
    selector_count: Index
    crosses: NDArray[np.bool_]
    into_next: Words
    big_endian: NDArray[np.bool_]
    node_end: Index
    node_count: Index
    has_big: bool
    has_scaling: bool
    has_plain: bool
    has_offsets: bool
    has_rescaled: bool
    has_signs: bool
    float_sizes: tuple[int, ...]
    has_exact: bool
    has_crossing: bool
    has_selectors: bool
    has_forks: bool
    may_overflow: bool
    depth: int


_ENTRY_COLUMNS: Final = (
    "up", "down", "mask", "kind", "scale", "offset", "integer_scale", "integer_offset", "float_bits",
    "is_exact", "crosses", "into_next", "big_endian",
)  # fmt: skip


def build_layout(signals: Sequence[SignalModel], nodes: Nodes) -> Layout:
    """The columns of `signals` in the order of `nodes`."""
    members = [*nodes.members, ()]
    counts = np.array([len(member) for member in members], np.intp)
    of_entry = np.array([signal for member in members for signal in member], np.intp)
    of = _Columns(signals, nodes)
    selector = np.flatnonzero(of.is_selector[of_entry])
    node_of_entry = np.repeat(np.arange(len(counts)), counts)
    selector_count = np.bincount(node_of_entry[selector], minlength=len(counts)).astype(np.intp)
    is_number = of.kind == ValueKind.FLOAT
    scaling = np.where(is_number, FLOATING, np.where(of.is_rescaled, RESCALED, PLAIN)).astype(np.uint8)
    return Layout(
        classic=_place(of, of_entry, counts, 1),
        fd=_place(of, of_entry, counts, FD_DATA_BYTES // CLASSIC_DATA_BYTES),
        signal=of_entry.astype(np.uint32),
        scaling=scaling[of_entry],
        selector=selector,
        selector_end=np.cumsum(selector_count),
        selector_count=selector_count,
        node_end=np.cumsum(counts),
        node_count=counts,
        depth=nodes.depth,
        has_forks=bool((selector_count > 1).any()),
        has_scaling=bool(scaling.any()),
        has_plain=not scaling.all(),
        has_offsets=_has_offsets(of, is_number),
        has_signs=any(signal.encoding is Encoding.SIGNED for signal in signals),
        **{name: getattr(of, name)[of_entry] for name in _ENTRY_COLUMNS},
        **_needed_steps(of),
    )


def _needed_steps(of: _Columns) -> dict[str, Any]:
    """What evaluation can leave out where no signal needs it."""
    is_safe = (np.abs(of.scale) < _SAFE_SCALE).all() and np.isfinite(of.offset).all()
    return {
        "has_big": bool(of.big_endian.any()),
        "has_rescaled": bool(of.is_rescaled.any()),
        # np.unique would load numpy.ma, which a small agent has no memory for.
        "float_sizes": tuple(sorted({*of.float_bits.tolist()} - {0})),
        "has_exact": bool(of.is_exact.any()),
        "has_crossing": bool(of.crosses.any()),
        "has_selectors": bool(of.is_selector.any()),
        "may_overflow": bool(of.float_bits.any() or not is_safe),
    }


def _has_offsets(of: _Columns, is_number: NDArray[np.bool_]) -> bool:
    # A product that may be -0.0 becomes 0.0 where 0 is added.
    may_be_negative_zero = ((of.scale < 0) | (of.float_bits > 0)) & ~np.signbit(of.offset)
    return bool((is_number & ((of.offset != 0) | may_be_negative_zero)).any())


def _place(of: _Columns, of_entry: Index, counts: Index, words: int) -> Placement:
    fits = of.needed_bytes <= words * CLASSIC_DATA_BYTES
    entry_bytes = np.where(fits, of.needed_bytes, _NEVER).astype(np.uint8)[of_entry]
    node_bytes = np.zeros(len(counts), np.uint8)
    np.maximum.at(node_bytes, np.repeat(np.arange(len(counts)), counts), entry_bytes)
    word = np.where(fits, of.start // WORD_BITS + of.big_endian * words, 0)[of_entry]
    return Placement(node_bytes, entry_bytes, word, words, int(node_bytes.max(initial=0)))


class _Columns:
    """The same per signal of the table."""

    def __init__(self, signals: Sequence[SignalModel], nodes: Nodes) -> None:
        self.start = np.array([signal.start for signal in signals], np.intp)
        self.length = np.array([signal.length for signal in signals], np.intp)
        self.big_endian = np.array([signal.big_endian for signal in signals], np.bool_)
        self.needed_bytes = (self.start + self.length + 7) // 8
        self.mask = _words(
            _MASK if signal.encoding is Encoding.SIGNED else (1 << signal.length) - 1 for signal in signals
        )
        self.float_bits = np.array(
            [signal.length if signal.encoding is Encoding.FLOAT else 0 for signal in signals], np.uint8
        )
        self.is_exact = np.array([needs_python(signal) for signal in signals], np.bool_)
        self.is_selector = np.zeros(len(signals), np.bool_)
        self.is_selector[list(nodes.segments)] = True
        self._place()
        self._scale(signals)

    def _place(self) -> None:
        in_byte = self.start % 8
        # Within one byte both byte orders are one.
        turned = self.big_endian & (in_byte + self.length <= 8)
        self.start[turned] += (8 - 2 * in_byte - self.length)[turned]
        self.big_endian &= ~turned
        in_word = self.start % WORD_BITS
        beyond = in_word + self.length - WORD_BITS
        self.crosses = (beyond > 0) & (self.length <= WORD_BITS)
        after = np.maximum(-beyond, 0)
        up = np.where(self.big_endian, in_word, after)
        # A signal that crosses is joined at the lower end of a word first.
        up = np.where(self.crosses, WORD_BITS - self.length, np.where(self.length > WORD_BITS, 0, up))
        self.up = up.astype(np.uint64)
        self.down = np.maximum(WORD_BITS - self.length, 0).astype(np.int64)
        # How far the next word's part is shifted: to the left (little endian), from the left (big endian).
        into_next = np.where(self.big_endian, beyond, WORD_BITS - in_word)
        self.into_next = np.where(self.crosses, into_next, 1).astype(np.uint64)

    def _scale(self, signals: Sequence[SignalModel]) -> None:
        integers = [integer_scaling(signal) for signal in signals]
        self.kind = np.array([_kind(signal) for signal in signals], np.uint8)
        self.is_rescaled = np.array([pair not in (None, (1, 0)) for pair in integers], np.bool_)
        self.integer_scale = _words(pair[0] if pair else 1 for pair in integers)
        self.integer_offset = _words(pair[1] if pair else 0 for pair in integers)
        self.scale = np.array([signal.scale for signal in signals], np.float64)
        self.offset = np.array([signal.offset for signal in signals], np.float64)
        # Adding 0.0 would turn a -0.0 that is passed through into 0.0; adding -0.0 changes nothing.
        self.offset[(self.scale == 1) & (self.offset == 0)] = -0.0


def _words(numbers: Iterable[int]) -> Words:
    return np.array([number & _MASK for number in numbers], np.uint64)


def _kind(signal: SignalModel) -> ValueKind:
    if integer_scaling(signal) is None:
        return ValueKind.FLOAT
    ends = (scaled(signal, limit) for limit in signal.raw_limits)
    return ValueKind.SIGNED if min(ends) < 0 else ValueKind.UNSIGNED
