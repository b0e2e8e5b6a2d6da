"""Frames that repeat each other are found, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of
from can_stream.text import repeats
from can_stream.text.repeats import Repeats, find_repeats


def found(batch: FrameBatch, origin: list[int] | None = None) -> Repeats | None:
    return find_repeats(batch, np.array(origin or [0] * len(batch), np.uint16))


def test_frames_that_differ_in_their_time_alone_are_one() -> None:
    batch = batch_of([(at, 0x100 + at % 2, 0, 2, bytes([1, at % 3])) for at in range(60)])
    repeated = found(batch)
    assert repeated is not None
    assert len(repeated.first) == 6
    assert [(at % 2, at % 3) for at in repeated.first[repeated.which].tolist()] == [
        (at % 2, at % 3) for at in range(60)
    ]


def test_any_other_difference_tells_frames_apart() -> None:
    frames = [
        (0x100, 0, 1, b"\0"),
        (0x101, 0, 1, b"\0"),
        (0x100, FrameFlag.EXTENDED, 1, b"\0"),
        (0x100, FrameFlag.TX, 1, b"\0"),
        (0x100, 0, 2, b"\0\0"),
        (0x100, 0, 1, b"\1"),
        (0x100, FrameFlag.FD, 64, bytes(63) + b"\1"),
        (0x100, FrameFlag.FD, 64, bytes(62) + b"\1\0"),
    ]
    batch = batch_of([(at, *frames[at % 8]) for at in range(80)])
    repeated = found(batch)
    assert repeated is not None
    assert (repeated.first[repeated.which] % 8).tolist() == [at % 8 for at in range(80)]
    both = found(batch, [at // 40 for at in range(80)])
    assert both is not None
    assert len(both.first) == 16


def test_where_most_frames_are_different_nothing_is_gained() -> None:
    assert found(batch_of([(at, at, 0, 0, b"") for at in range(50)])) is None
    assert found(batch_of([(at, at % 26, 0, 0, b"") for at in range(50)])) is None
    assert found(batch_of([(at, at % 25, 0, 0, b"") for at in range(50)])) is not None


def test_sums_that_are_made_equal_do_not_make_frames_equal() -> None:
    # The sum of two frames is the same where their data differs as what their ids become does.
    def mixed(arbitration_id: int) -> int:
        product = (arbitration_id | 8 << 40) * int(repeats._FACTOR) % 2**64
        return product ^ product >> 32

    data = [(mixed(1) ^ mixed(at)).to_bytes(8, "little") for at in (1, 2)]
    batch = batch_of([(at, 1 + at % 2, 0, 8, data[at % 2]) for at in range(40)])
    assert found(batch) is None
