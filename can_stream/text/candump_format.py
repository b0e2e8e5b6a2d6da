"""Frames as the text that `candump -L` prints and `canplayer` reads."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import CLASSIC_DATA_BYTES, FrameBatch, FrameFlag

# linux/can.h: in an error frame the identifier field holds this flag and the error class.
_CAN_ERR_FLAG: Final = 0x2000_0000
# Rows at a time, so that the table of characters stays in the cache.
_ROWS: Final = 2048

_DIGIT_PAIRS: Final = np.array([list(b"%02d" % value) for value in range(100)], np.uint8)
_HEX_PAIRS: Final = np.array([list(b"%02X" % value) for value in range(256)], np.uint8)
_HEX_DIGITS: Final = np.frombuffer(b"0123456789ABCDEF", np.uint8)

_Columns = NDArray[np.uint8]
_Shown = NDArray[np.bool_]


def format_candump(batch: FrameBatch, channel: str) -> bytes:
    """One line per frame, ` T` behind those sent; microseconds, so 1000 ns are the resolution.

    `can_stream.logs.formats.candump` reads the same frames from it.
    """
    name = f" {channel} ".encode()
    return b"".join(_format_rows(batch[begin : begin + _ROWS], name) for begin in range(0, len(batch), _ROWS))


def _format_rows(batch: FrameBatch, name: bytes) -> bytes:
    """A table of all characters any line may have, and a mask of those that each line has."""
    table = [*_head(batch, name), *_identifier(batch), *_body(batch)]
    columns = [part for part, _ in table]
    shown = [np.broadcast_to(_as_column(mask), part.shape) for part, mask in table]
    joined: _Columns = np.concatenate(columns, axis=1)[np.concatenate(shown, axis=1)]
    return joined.tobytes()


def _as_column(mask: _Shown) -> _Shown:
    return mask[:, None] if mask.ndim == 1 else mask


def _text(rows: int, text: bytes) -> _Columns:
    return np.broadcast_to(np.frombuffer(text, np.uint8), (rows, len(text)))


def _head(batch: FrameBatch, name: bytes) -> list[tuple[_Columns, _Shown]]:
    rows = len(batch)
    always = np.ones(rows, np.bool_)
    micros = batch.timestamp_ns // 1000
    pairs = [(np.abs(micros) // 100**power) % 100 for power in range(7, -1, -1)]
    digits = _DIGIT_PAIRS[np.stack(pairs, axis=1)].reshape(rows, 16)
    return [
        (_text(rows, b"("), always),
        (_text(rows, b"-"), micros < 0),
        (digits[:, :10], always),
        (_text(rows, b"."), always),
        (digits[:, 10:], always),
        (_text(rows, b")" + name), always),
    ]


def _identifier(batch: FrameBatch) -> list[tuple[_Columns, _Shown]]:
    is_error = _has(batch, FrameFlag.ERROR)
    number = np.where(is_error, batch.arbitration_id | _CAN_ERR_FLAG, batch.arbitration_id)
    digits = _HEX_PAIRS[number.astype(">u4").view(np.uint8).reshape(-1, 4)].reshape(-1, 8)
    is_long = is_error | _has(batch, FrameFlag.EXTENDED)
    return [(digits[:, :5], is_long), (digits[:, 5:], np.ones(len(batch), np.bool_))]


def _body(batch: FrameBatch) -> list[tuple[_Columns, _Shown]]:
    rows = len(batch)
    is_error = _has(batch, FrameFlag.ERROR)
    is_remote = _has(batch, FrameFlag.REMOTE) & ~is_error
    is_fd = _has(batch, FrameFlag.FD) & ~is_error & ~is_remote
    has_raw_dlc = ~is_fd & (batch.length > CLASSIC_DATA_BYTES)
    # struct canfd_frame's flags: 1 is BRS, 2 is ESI.
    fd_flags = _has(batch, FrameFlag.BRS) + 2 * _has(batch, FrameFlag.ESI).astype(np.uint8)
    classic_length = np.minimum(batch.length, CLASSIC_DATA_BYTES)
    count = np.where(is_remote, 0, np.where(is_fd, batch.length, classic_length))
    hex_data = _HEX_PAIRS[batch.data].reshape(rows, -1)
    return [
        (_text(rows, b"#"), np.ones(rows, np.bool_)),
        (_text(rows, b"#"), is_fd),
        (_HEX_DIGITS[fd_flags][:, None], is_fd),
        (_text(rows, b"R"), is_remote),
        (_HEX_DIGITS[classic_length][:, None], is_remote & (batch.length > 0)),
        (hex_data, np.arange(hex_data.shape[1]) < 2 * count[:, None]),
        (_text(rows, b"_"), has_raw_dlc),
        (_HEX_DIGITS[batch.length & 15][:, None], has_raw_dlc),
        (_text(rows, b" T"), _has(batch, FrameFlag.TX)),
        (_text(rows, b"\n"), np.ones(rows, np.bool_)),
    ]


def _has(batch: FrameBatch, flag: FrameFlag) -> _Shown:
    bits: _Shown = (batch.flags & flag) != 0
    return bits
