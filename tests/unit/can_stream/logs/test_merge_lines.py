"""Lines read in columns and those read one at a time, in the order of the file."""

from __future__ import annotations

import numpy as np

from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.logs.log_blocks import ChannelNames, RowCollector, merge_lines


def test_a_row_in_place_of_a_wider_one_has_nothing_behind_its_data() -> None:
    count = 4
    columns = FrameBatch(
        np.arange(count),
        np.full(count, 0x123, np.uint32),
        np.full(count, FrameFlag.FD, np.uint8),
        np.full(count, 64, np.uint8),
        np.full((count, 64), 0xEE, np.uint8),
    )
    rest = RowCollector(ChannelNames())
    rest.take_line(1, b"x", lambda _: (1, "can0", 0x7FF, 0, 2, b"\x01\x02"))
    ok = np.array([True, False, True, False])
    batch = merge_lines(ok, columns, np.zeros(count, np.uint16), rest)
    assert batch.frames.timestamp_ns.tolist() == [0, 1, 2]
    assert batch.frames.data[1].tolist() == [1, 2, *bytes(62)]
    assert (batch.frames.data[[0, 2]] == 0xEE).all()
