"""The table as columns: reading an entry as the columns say gives the raw value of its signal."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import ValueKind
from can_stream.signals.exact import raw_of
from can_stream.signals.layout import FLOATING, PLAIN, RESCALED, Layout, build_layout
from can_stream.signals.model import Encoding, MessageModel, SignalModel
from can_stream.signals.nodes import build_nodes

ALL_ONES = 2**64 - 1


def layout_of(*messages: tuple[SignalModel, ...]) -> Layout:
    models = [MessageModel("M", number, False, False, 64, signals) for number, signals in enumerate(messages)]
    return build_layout([signal for signals in messages for signal in signals], build_nodes(models))


@st.composite
def placed(draw: st.DrawFn) -> SignalModel:
    """An integer signal somewhere in a frame of 64 bytes."""
    length = draw(st.integers(1, 64))
    start = draw(st.integers(0, 512 - length))
    encoding = draw(st.sampled_from([Encoding.SIGNED, Encoding.UNSIGNED]))
    return SignalModel("S", start, length, draw(st.booleans()), encoding)


@given(placed(), st.binary(min_size=64, max_size=64))
def test_a_word_shifted_and_cut_as_the_columns_say_is_the_raw_value(signal: SignalModel, data: bytes) -> None:
    layout = layout_of((signal,))
    words = [*struct.unpack("<8Q", data), *struct.unpack(">8Q", data)]
    if layout.crosses[0]:
        assert signal.start // 64 != (signal.start + signal.length - 1) // 64, "it goes on in the next word"
        return
    up, down, mask = int(layout.up[0]), int(layout.down[0]), int(layout.mask[0])
    word = words[layout.fd.word[0]] << up & ALL_ONES
    signed = word - 2**64 if signal.encoding is Encoding.SIGNED and word >> 63 else word
    expected = raw_of(signal, data)
    assert isinstance(expected, int)
    assert (signed >> down) & mask == expected & ALL_ONES


@given(placed())
def test_a_signal_needs_as_much_data_as_its_last_bit_and_never_fits_a_frame_without_it(
    signal: SignalModel,
) -> None:
    layout = layout_of((signal,))
    assert layout.fd.entry_bytes.tolist() == [signal.needed_bytes]
    classic = int(layout.classic.entry_bytes[0])
    assert classic == signal.needed_bytes if signal.needed_bytes <= 8 else classic > 64
    assert layout.classic.word[0] < layout.classic.words * 2


def test_entries_lie_node_by_node_and_the_last_node_has_none() -> None:
    selector = SignalModel("Which", 0, 8)
    one, two = (SignalModel(f"S{n}", 8 * n, 8, selector=0, ranges=((n, n),)) for n in (1, 2))
    layout = layout_of((selector, one, two), (SignalModel("Other", 24, 8), SignalModel("More", 40, 8)))
    begins = layout.node_end - layout.node_count
    entries = [layout.signal[first:end].tolist() for first, end in zip(begins, layout.node_end, strict=True)]
    assert entries == [[0], [3, 4], [1], [2], []], "roots in the order of messages, then what selectors pick"
    assert layout.classic.node_bytes.tolist() == [1, 6, 2, 3, 0]
    assert layout.classic.most_bytes == 6
    assert (layout.selector.tolist(), layout.selector_count.tolist()) == ([0], [1, 0, 0, 0, 0])
    assert (layout.has_selectors, layout.has_forks, layout.depth) == (True, False, 1)


def test_two_selectors_in_one_node_are_a_fork() -> None:
    pair = (SignalModel("A", 0, 8), SignalModel("B", 8, 8))
    picked = tuple(SignalModel(f"S{n}", 16, 8, selector=n, ranges=((1, 1),)) for n in (0, 1))
    assert layout_of((*pair, *picked)).has_forks


@pytest.mark.parametrize(
    ("signal", "kind", "scaling"),
    [
        (SignalModel("S", 0, 8), ValueKind.UNSIGNED, PLAIN),
        (SignalModel("S", 0, 8, encoding=Encoding.SIGNED), ValueKind.SIGNED, PLAIN),
        (SignalModel("S", 0, 8, offset=-40), ValueKind.SIGNED, RESCALED),
        (SignalModel("S", 0, 8, scale=2.0, offset=1), ValueKind.UNSIGNED, RESCALED),
        (SignalModel("S", 0, 8, scale=0.5), ValueKind.FLOAT, FLOATING),
        (SignalModel("S", 0, 32, encoding=Encoding.FLOAT), ValueKind.FLOAT, FLOATING),
    ],
)
def test_the_kind_of_a_value_follows_from_its_scale(
    signal: SignalModel, kind: ValueKind, scaling: int
) -> None:
    layout = layout_of((signal,))
    assert (layout.kind.tolist(), layout.scaling.tolist()) == ([kind], [scaling])
    assert (layout.has_plain, layout.has_scaling) == (scaling == PLAIN, scaling != PLAIN)
    assert layout.has_rescaled == (scaling == RESCALED)
    assert layout.float_sizes == ((32,) if signal.encoding is Encoding.FLOAT else ())
    assert layout.has_signs == (signal.encoding is Encoding.SIGNED)
    assert np.array_equal(layout.integer_offset, np.array([int(signal.offset)]).astype(np.uint64))


def test_within_one_byte_both_byte_orders_are_one_and_need_no_second_reading() -> None:
    signal = SignalModel("S", 9, 5, big_endian=True)
    layout = layout_of((signal,))
    assert (layout.has_big, layout.has_crossing) == (False, False)
    assert layout_of((SignalModel("S", 6, 5, big_endian=True),)).has_big


def test_a_table_without_signals_has_empty_columns() -> None:
    layout = layout_of(())
    assert len(layout.signal) == 0
    assert layout.node_count.tolist() == [0, 0]
    assert (layout.has_selectors, layout.may_overflow, layout.classic.most_bytes) == (False, False, 0)
