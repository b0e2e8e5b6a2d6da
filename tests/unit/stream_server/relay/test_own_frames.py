"""Which frames are no part of any count."""

from __future__ import annotations

import numpy as np

from can_stream.frames.batches import FrameBatch, FrameFlag
from stream_server.relay.own_frames import others_from, own_frames, runs


def batch(flags: list[int]) -> FrameBatch:
    rows = len(flags)
    return FrameBatch(
        np.zeros(rows, np.int64),
        np.ones(rows, np.uint32),
        np.array(flags, np.uint8),
        np.full(rows, 8, np.uint8),
        np.zeros((rows, 8), np.uint8),
    )


def test_own_echoes_and_error_frames_are_a_bit_each() -> None:
    flags = [FrameFlag.FD, FrameFlag.TX, FrameFlag.ERROR, 0, FrameFlag.TX | FrameFlag.EXTENDED]
    assert own_frames(batch([int(one) for one in flags])) == bytes([0b01101000])
    assert own_frames(batch([0, FrameFlag.REMOTE])) == b""


def test_others_are_counted_from_anywhere_in_the_packet() -> None:
    own = own_frames(batch([0, 64, 64, 0, 0, 64, 0, 0, 64]))
    assert others_from(own, 100, 100, 109) == 5
    assert others_from(own, 100, 102, 109) == 4
    assert others_from(own, 100, 108, 109) == 0
    assert others_from(b"", 100, 102, 109) == 7


def test_runs_are_of_one_kind_each() -> None:
    own = own_frames(batch([0, 64, 64, 0]))
    assert list(runs(own, 10, 10, 14)) == [(10, 11, False), (11, 13, True), (13, 14, False)]
    assert list(runs(own, 10, 12, 14)) == [(12, 13, True), (13, 14, False)]
