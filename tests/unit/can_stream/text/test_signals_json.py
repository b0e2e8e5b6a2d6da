"""What a database adds to a normalized frame: every kind of value, for one frame and for whole batches."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of
from can_stream.signals.decoded import Decoded, Value
from can_stream.signals.evaluate import decode
from can_stream.signals.model import Encoding, MessageModel, SignalModel
from can_stream.signals.table import SignalTable
from can_stream.text.frame_json import FrameOrigin, can_frame_json, rows_of
from can_stream.text.signals_json import JsonLines, frame_members, value_json, values_json

ORIGIN = FrameOrigin(None, "can0")
FLOAT32 = SignalModel("S", 0, 32, encoding=Encoding.FLOAT)
FLOAT64 = SignalModel("S", 0, 64, encoding=Encoding.FLOAT)
FLOAT_CHOICE = SignalModel("S", 0, 32, encoding=Encoding.FLOAT, choices={2: "two"})
LONG_CHOICE = SignalModel("S", 0, 4, encoding=Encoding.SIGNED, choices={-1: "x" * 300})


def one_signal(signal: SignalModel, data: bytes) -> tuple[Decoded, FrameBatch]:
    flags = FrameFlag.FD if len(data) > 8 else 0
    batch = batch_of([(1_500_000_000, 0x123, flags, len(data), data)])
    return decode(SignalTable([MessageModel("M", 0x123, False, False, len(data), (signal,))]), batch), batch


def shown(decoded: Decoded, batch: FrameBatch, *, raw: bool = False) -> bytes:
    """The line of a batch of one frame, after a look whether the text for one frame is the same."""
    line = JsonLines(decoded.table).lines(decoded, batch, ORIGIN, count=1, raw=raw)
    (row,) = rows_of(batch)
    assert line == can_frame_json(row, ORIGIN, 1, frame_members(decoded, 0, raw=raw)) + b"\n"
    return line


@pytest.mark.parametrize(
    ("signal", "data", "text"),
    [
        (SignalModel("S", 0, 64), b"\xff" * 8, "18446744073709551615"),
        (SignalModel("S", 0, 64, encoding=Encoding.SIGNED), b"\0" * 7 + b"\x80", "-9223372036854775808"),
        (SignalModel("S", 0, 72), b"\xff" * 12, str(2**72 - 1)),
        (SignalModel("S", 0, 64, scale=3), b"\xff" * 8, str(3 * (2**64 - 1))),
        (SignalModel("S", 0, 8, scale=1.0), b"\5", "5"),
        (SignalModel("S", 0, 8, scale=0.5), b"\x0a", "5.0"),
        (SignalModel("S", 0, 8, scale=1e300, offset=0.5), b"\1", "1e300"),
        (FLOAT64, struct.pack("<d", 1e16), "1e16"),
        (FLOAT64, struct.pack("<d", -0.0), "-0.0"),
        (FLOAT64, struct.pack("<d", 5e-324), "5e-324"),
        (FLOAT32, struct.pack("<f", math.nan), '"NaN"'),
        (FLOAT32, struct.pack("<f", math.inf), '"Infinity"'),
        (FLOAT32, struct.pack("<f", -math.inf), '"-Infinity"'),
        (FLOAT_CHOICE, struct.pack("<f", 2.5), '"two"'),
        (SignalModel("S", 0, 8, choices={1: 'a "b",\n'}), b"\1", r'"a \"b\",\n"'),
        (LONG_CHOICE, b"\x0f", f'"{"x" * 300}"'),
        (SignalModel("S", 0, 4, choices={-1: "no"}), b"\x0f", "15"),
        (SignalModel("S", 0, 72, choices={1: "one"}), b"\1" + b"\0" * 11, '"one"'),
    ],
)  # fmt: skip
def test_a_value_is_shown_exactly(signal: SignalModel, data: bytes, text: str) -> None:
    decoded, batch = one_signal(signal, data)
    assert f',"message":"M","signals":{{"S":{text}}},"count":1}}\n'.encode() in shown(decoded, batch)


@pytest.mark.parametrize("value", [5, 5.0, -0.0, 1e16, 0.1 + 0.2, 2**64 - 1, 2**200, -(2**63), "On", ""])
def test_a_value_comes_back_with_its_type(value: Value) -> None:
    back = json.loads(value_json(value))
    assert (type(back), repr(back)) == (type(value), repr(value))
    assert json.loads(values_json({"S": value})) == {"S": value}


MULTIPLEXED = SignalTable(
    [
        MessageModel(
            "Engine", 0x123, False, False, 8,
            (
                SignalModel("Mode", 0, 8, choices={1: "Idle"}),
                SignalModel("Speed", 8, 16, scale=0.25, selector=0, ranges=((1, 1),)),
                SignalModel("Level", 40, 8),
            ),
        ),
        MessageModel("Empty", 0x124, False, False, 8, ()),
    ]
)  # fmt: skip


def lines_of(rows: list[tuple[int, int, int, int, bytes]], *, raw: bool = False) -> list[dict[str, Any]]:
    batch = batch_of(rows)
    decoded = decode(MULTIPLEXED, batch)
    lines = JsonLines(MULTIPLEXED).lines(decoded, batch, ORIGIN, count=None, raw=raw)
    single = [
        can_frame_json(row, ORIGIN, None, frame_members(decoded, at, raw=raw)) + b"\n"
        for at, row in enumerate(rows_of(batch))
    ]
    assert lines == b"".join(single)
    return [json.loads(line) for line in lines.splitlines()]


def test_undecoded_signals_are_named_only_where_there_are_some() -> None:
    whole, short, unknown_mode = lines_of(
        [
            (0, 0x123, 0, 8, bytes([1, 4, 0, 0, 0, 7, 0, 0])),
            (0, 0x123, 0, 2, bytes([1, 4])),
            (0, 0x123, 0, 6, bytes([9, 4, 0, 0, 0, 7])),
        ]
    )
    assert whole["signals"] == {"Mode": "Idle", "Speed": 1.0, "Level": 7}
    assert "undecoded" not in whole
    assert (short["signals"], short["undecoded"]) == ({"Mode": "Idle"}, ["Speed", "Level"])
    assert (unknown_mode["signals"], unknown_mode["undecoded"]) == ({"Mode": 9, "Level": 7}, ["Speed"])


def test_raw_numbers_stand_beside_the_values() -> None:
    (line,) = lines_of([(0, 0x123, 0, 8, bytes([1, 4, 0, 0, 0, 7, 0, 0]))], raw=True)
    assert line["signals_raw"] == {"Mode": 1, "Speed": 4, "Level": 7}


def test_unknown_error_and_remote_frames_keep_their_place_among_the_others() -> None:
    known = (1_000, 0x123, 0, 6, bytes([1, 4, 0, 0, 0, 7]))
    lines = lines_of(
        [
            (0, 0x7FF, 0, 1, b"\1"),
            known,
            (2_000, 0x123, FrameFlag.ERROR, 8, bytes(8)),
            (3_000, 0x123, FrameFlag.REMOTE, 8, b""),
            (4_000, 0x124, 0, 0, b""),
            (-1_000, 0x123, FrameFlag.EXTENDED | FrameFlag.TX, 0, b""),
        ]
    )
    assert [line.get("message") for line in lines] == [None, "Engine", None, "Engine", "Empty", None]
    assert [line.get("signals") for line in lines[2:5]] == [None, {}, {}]
    assert lines[3]["is_remote"]
    assert lines[5]["ts"] == "1969-12-31T23:59:59.999999Z"
    assert lines_of([]) == []


def test_of_a_name_that_a_message_has_twice_the_last_value_is_shown() -> None:
    signals = (SignalModel("S", 0, 8), SignalModel("T", 8, 8), SignalModel("S", 16, 8))
    table = SignalTable([MessageModel("M", 0x123, False, False, 8, signals)])
    batch = batch_of([(0, 0x123, 0, 8, bytes([1, 2, 3, 0, 0, 0, 0, 0])), (0, 0x123, 0, 2, bytes([4, 5]))])
    first, short = JsonLines(table).lines(decode(table, batch), batch, ORIGIN, count=None).splitlines()
    assert b'"signals":{"T":2,"S":3}' in first
    assert b'"signals":{"S":4,"T":5},"undecoded":["S"]' in short
