"""Lines that canplayer would read."""

from __future__ import annotations

import pytest

from can_stream.frames.batches import FrameFlag, batch_of, empty_batch
from can_stream.text.candump_format import format_candump

S = 1_000_000_000


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ((S + 1999, 0x12, 0, 2, b"\x0a\xff"), b"(0000000001.000001) can0 012#0AFF"),
        ((0, 0x12, FrameFlag.EXTENDED | FrameFlag.TX, 0, b""), b"(0000000000.000000) can0 00000012# T"),
        ((0, 0x12, FrameFlag.REMOTE, 0, b""), b"(0000000000.000000) can0 012#R"),
        ((0, 0x12, FrameFlag.REMOTE, 7, b""), b"(0000000000.000000) can0 012#R7"),
        ((0, 0x12, FrameFlag.REMOTE, 9, b""), b"(0000000000.000000) can0 012#R8_9"),
        ((0, 0x12, 0, 15, bytes(8)), b"(0000000000.000000) can0 012#0000000000000000_F"),
        (
            (0, 0x12, FrameFlag.FD | FrameFlag.BRS | FrameFlag.ESI, 12, bytes(12)),
            b"(0000000000.000000) can0 012##3" + b"00" * 12,
        ),
        (
            (0, 0x88, FrameFlag.ERROR, 8, b"\0\0\x08\0\0\0\0\0"),
            b"(0000000000.000000) can0 20000088#0000080000000000",
        ),
        ((-S - 500_000_000, 1, 0, 0, b""), b"(-0000000001.500000) can0 001#"),
        ((1_700_000_000 * S, 1, 0, 0, b""), b"(1700000000.000000) can0 001#"),
    ],
)
def test_one_line_per_frame(row: tuple[int, int, int, int, bytes], line: bytes) -> None:
    assert format_candump(batch_of([row]), "can0") == line + b"\n"


def test_long_batches_keep_their_order() -> None:
    batch = batch_of([(number * 1000, number & 0x7FF, 0, 1, bytes([number & 255])) for number in range(5000)])
    lines = format_candump(batch, "vcan0").splitlines()
    assert len(lines) == 5000
    assert lines[4999] == b"(0000000000.004999) vcan0 387#87"


def test_no_frames_are_no_lines() -> None:
    assert format_candump(empty_batch(), "can0") == b""
