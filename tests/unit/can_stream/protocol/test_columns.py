"""Columns of a packet: what is put is taken, in few bytes, and any bytes are a value or an error."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from can_stream.frames.slots import slots_of
from can_stream.protocol.columns import (
    put_planes,
    put_rows,
    put_slots,
    put_ticks,
    take_planes,
    take_rows,
    take_slots,
    take_ticks,
)
from can_stream.protocol.errors import PacketError
from can_stream.protocol.varint import Reader

LIMIT = 2**62
# As far as packets have times: sums of long differences are judged in floating point.
LAST = LIMIT - 2 * 10**9
words = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 300), max_size=30)
times = st.lists(st.integers(-LAST, LAST) | st.integers(0, 1000), min_size=1, max_size=30)
keys = st.lists(st.integers(0, 5), min_size=1, max_size=40)


def put(write: Callable[..., None], *values: Any) -> bytes:
    out = bytearray()
    write(out, *values)
    return bytes(out)


@given(words)
def test_planes_survive_and_are_as_many_as_the_highest_value_needs(values: list[int]) -> None:
    data = put(put_planes, np.array(values, np.uint64))
    assert len(data) == 1 + len(values) * -(-max(values, default=0).bit_length() // 8)
    reader = Reader(data)
    assert take_planes(reader, len(values)).tolist() == values
    reader.end()


@given(times)
@example([-LAST, LAST, -LAST])
def test_times_survive_in_any_order(values: list[int]) -> None:
    reader = Reader(put(put_ticks, np.array(values, np.int64)))
    assert take_ticks(reader, values[0], len(values), LIMIT)[0].tolist() == values
    reader.end()


@given(st.lists(st.integers(-1000, 1000), min_size=1), st.integers(1, 1001))
def test_times_beyond_the_limit_are_refused(values: list[int], limit: int) -> None:
    reader = Reader(put(put_ticks, np.array(values, np.int64)))
    if all(-limit < value < limit for value in values):
        assert take_ticks(reader, values[0], len(values), limit)[0].tolist() == values
    else:
        with pytest.raises(PacketError, match="times out of range at byte 0"):
            take_ticks(reader, values[0], len(values), limit)


def test_differences_whose_sum_wraps_around_are_refused() -> None:
    # Eight times 2**61 and four times -2**62 are both 0 in 64 bits.
    steps = np.array([0, *[2**61] * 8, *[-(2**62)] * 4], np.int64)
    data = put(put_planes, ((steps << 1) ^ (steps >> 63)).view(np.uint64))
    with pytest.raises(PacketError, match="times out of range"):
        take_ticks(Reader(data), 0, len(steps), LIMIT)


@given(keys, st.data())
def test_slots_and_rows_survive_whatever_the_order_of_keys(key: list[int], data: st.DataObject) -> None:
    width = data.draw(st.sampled_from([8, 64]))
    content = data.draw(st.binary(min_size=width * len(key), max_size=width * len(key)))
    rows = np.frombuffer(content, np.uint8).reshape(-1, width)
    slots = slots_of(np.array(key, np.uint64))
    reader = Reader(put(put_slots, slots) + put(put_rows, slots, rows))
    slot = take_slots(reader, len(key), len(slots.first))
    assert slot.tolist() == [sorted(set(key)).index(one) for one in key]
    assert np.array_equal(take_rows(reader, slot, width), rows)
    reader.end()


@pytest.mark.parametrize(("count", "bytes_each"), [(256, 1), (257, 2)])
def test_more_than_256_slots_take_two_bytes_each(count: int, bytes_each: int) -> None:
    slots = slots_of(np.arange(count)[::-1].astype(np.uint32))
    data = put(put_slots, slots)
    assert len(data) == count * bytes_each
    assert take_slots(Reader(data), count, count).tolist() == list(range(count))[::-1]


def test_rows_that_do_not_change_take_a_bit_for_each_byte() -> None:
    rows = np.full((100, 8), 7, np.uint8)
    data = put(put_rows, slots_of(np.zeros(100, np.uint64)), rows)
    assert len(data) == 100 * 8 // 8 + 8


def test_a_slot_that_is_not_there_is_refused() -> None:
    with pytest.raises(PacketError, match="slot 3 of 3 at byte 0"):
        take_slots(Reader(b"\0\3\2"), 3, 3)


def test_more_planes_than_a_word_has_are_refused() -> None:
    with pytest.raises(PacketError, match="9 planes, at most 8 are allowed at byte 0"):
        take_planes(Reader(b"\x09" + bytes(100)), 2)


@given(st.binary(max_size=200), st.integers(1, 20), st.integers(1, 300))
def test_any_bytes_give_columns_of_the_asked_size_or_a_packet_error(
    data: bytes, count: int, slots: int
) -> None:
    with suppress(PacketError):
        assert take_planes(Reader(data), count).shape == (count,)
    with suppress(PacketError):
        ticks, *_ = take_ticks(Reader(data), 0, count, LIMIT)
        assert int(abs(ticks).max()) < LIMIT
    with suppress(PacketError):
        reader = Reader(data)
        slot = take_slots(reader, count, slots)
        assert int(slot.max()) < slots
        assert take_rows(reader, slot, 8).shape == (count, 8)
