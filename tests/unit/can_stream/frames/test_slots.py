"""Rows grouped by what they share: by ascending key, within a slot in the order of the batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from can_stream.frames.slots import slots_of


@given(st.lists(st.integers(0, 6) | st.integers(0, 2**64 - 1), max_size=50))
def test_every_row_is_in_the_slot_of_its_key(keys: list[int]) -> None:
    slots = slots_of(np.array(keys, np.uint64))
    distinct = sorted(set(keys))
    assert slots.numbers().tolist() == [distinct.index(key) for key in keys]
    assert slots.first.tolist() == [keys.index(key) for key in distinct]
    assert slots.order.tolist() == sorted(range(len(keys)), key=lambda row: (keys[row], row))
    assert slots.order[slots.starts].tolist() == slots.first.tolist()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
def test_keys_may_be_of_any_width(dtype: DTypeLike) -> None:
    highest = np.iinfo(dtype).max
    slots = slots_of(np.array([highest, 0, highest], dtype))
    assert (slots.numbers().tolist(), slots.first.tolist()) == ([1, 0, 1], [1, 0])
