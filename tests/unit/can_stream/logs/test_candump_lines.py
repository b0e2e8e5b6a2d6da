"""Every dialect of candump, one line at a time."""

from __future__ import annotations

import time

import pytest

from can_stream.errors import LineError
from can_stream.frames.batches import FrameFlag
from can_stream.logs.formats.candump_lines import EXPLANATION, HumanClock, are_deltas, read_candump_line
from can_stream.logs.log_blocks import Row

S = 1_000_000_000
EXTENDED, REMOTE, ERROR = FrameFlag.EXTENDED, FrameFlag.REMOTE, FrameFlag.ERROR
FD, BRS, ESI, TX = FrameFlag.FD, FrameFlag.BRS, FrameFlag.ESI, FrameFlag.TX


def read(line: bytes) -> Row | str:
    return read_candump_line(line, HumanClock())


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (b"(1.000001) can0 123#0a0B", (S + 1000, "can0", 0x123, 0, 2, b"\x0a\x0b")),
        (b"(1.5) can0 123#", (S + S // 2, "can0", 0x123, 0, 0, b"")),
        (b"(1) can0 123#", (S, "can0", 0x123, 0, 0, b"")),
        (b"(1.000000001)  can0 123#\r", (S + 1, "can0", 0x123, 0, 0, b"")),
        (b"(-1.5) can0 123#", (-S - S // 2, "can0", 0x123, 0, 0, b"")),
        (b"(0.0) vcan0 00000123#FF R", (0, "vcan0", 0x123, EXTENDED, 1, b"\xff")),
        (b"(0.0) vcan0 1FFFFFFF#FF T", (0, "vcan0", 0x1FFFFFFF, EXTENDED | TX, 1, b"\xff")),
        (b"(0.0) can0 123#11.22.33", (0, "can0", 0x123, 0, 3, b"\x11\x22\x33")),
        (b"(0.0) can0 123#R", (0, "can0", 0x123, REMOTE, 0, b"")),
        (b"(0.0) can0 123#R5 T", (0, "can0", 0x123, REMOTE | TX, 5, b"")),
        (b"(0.0) can0 123#R8", (0, "can0", 0x123, REMOTE, 8, b"")),
        (b"(0.0) can0 123#R8_E", (0, "can0", 0x123, REMOTE, 14, b"")),
        (b"(0.0) can0 123#0102030405060708_9", (0, "can0", 0x123, 0, 9, bytes(range(1, 9)))),
        (b"(0.0) can0 123##0", (0, "can0", 0x123, FD, 0, b"")),
        (b"(0.0) can0 123##5AABB", (0, "can0", 0x123, FD | BRS, 2, b"\xaa\xbb")),
        (b"(0.0) can0 123##3" + b"00" * 64, (0, "can0", 0x123, FD | BRS | ESI, 64, bytes(64))),
        (
            b"(0.0) can0 20000088#0000080000000000",
            (0, "can0", 0x88, ERROR, 8, b"\0\0\x08\0\0\0\0\0"),
        ),
    ],
)
def test_log_dialect(line: bytes, row: Row) -> None:
    assert read(line) == row


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (b"  can0  123   [2]  11 22", (0, "can0", 0x123, 0, 2, b"\x11\x22")),
        (b"  can0       123   [2]  11 22", (0, "can0", 0x123, 0, 2, b"\x11\x22")),
        (b"  can0  12345678   [0] ", (0, "can0", 0x12345678, EXTENDED, 0, b"")),
        (b"  can0  123   [4]  remote request", (0, "can0", 0x123, REMOTE, 4, b"")),
        (b"  can0  123  [02]  11 22", (0, "can0", 0x123, FD, 2, b"\x11\x22")),
        (b"  can0  RX B E  123  [02]  11 22", (0, "can0", 0x123, FD | BRS | ESI, 2, b"\x11\x22")),
        (b"  can0  TX - -  123   [1]  11", (0, "can0", 0x123, TX, 1, b"\x11")),
        (b"  can0  123   {9}  01 02 03 04 05 06 07 08", (0, "can0", 0x123, 0, 9, bytes(range(1, 9)))),
        (b"  can0  123   [3]  41 42 43                  'ABC'", (0, "can0", 0x123, 0, 3, b"ABC")),
        (b"  can0  123   [2]  20 27                     ' ''", (0, "can0", 0x123, 0, 2, b" '")),
        (b"  can0  123   [3]  43`42`41                  `CBA`", (0, "can0", 0x123, 0, 3, b"ABC")),
        (b"  can0  123   [2]  00000001 10000000", (0, "can0", 0x123, 0, 2, b"\x01\x80")),
        (b"  can0  123   [2]  10000000`00000001", (0, "can0", 0x123, 0, 2, b"\x01\x80")),
        (b"\x1b[32m  can0\x1b[0m  123   [1]  11", (0, "can0", 0x123, 0, 1, b"\x11")),
        (
            b"  can0  20000004   [8]  00 01 00 00 00 00 00 00   ERRORFRAME",
            (0, "can0", 4, ERROR, 8, b"\0\1\0\0\0\0\0\0"),
        ),
        (b" (1700000000.000001)  can0  123   [1]  11", (1700000000 * S + 1000, "can0", 0x123, 0, 1, b"\x11")),
        (b"<0x123> [2] 11 22", (0, "can0", 0x123, 0, 2, b"\x11\x22")),
        (b"<0x00000123> [2] 11 22 ", (0, "can0", 0x123, EXTENDED, 2, b"\x11\x22")),
        (b"  can1  <0x123> [2] remote request", (0, "can1", 0x123, REMOTE, 2, b"")),
    ],
)
def test_human_dialects(line: bytes, row: Row) -> None:
    assert read(line) == row


@pytest.mark.parametrize(("zone", "hours"), [("UTC", 0), ("Europe/Berlin", -1), ("XXX-5:30", -5.5)])
def test_a_date_is_local_time_of_the_computer_that_reads_it(
    zone: str, hours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HumanClock()
    line = b" (2023-11-14 22:13:20.000001)  can0  123   [1]  11"
    with monkeypatch.context() as context:
        context.setenv("TZ", zone)
        time.tzset()
        row = read_candump_line(line, clock)
    time.tzset()
    assert row == (int((1700000000 + hours * 3600) * S) + 1000, "can0", 0x123, 0, 1, b"\x11")
    assert clock.is_local


def test_a_fraction_counts_forwards_before_1970_too() -> None:
    first, second = (
        read_candump_line(b" (1969-06-01 00:00:00.%d)  can0  123   [1]  11" % tenth, HumanClock())
        for tenth in (0, 5)
    )
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    assert second[0] - first[0] == S // 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"user@host:~$ candump can0", "not a candump line"),
        (b"(0.0) can0 800#", "more than 11 bits"),
        (b"(0.0) can0 40000000#", "more than 29 bits"),
        (b"(0.0) can0 1234#", "not a candump line"),
        (b"(0.0) can0 123#1", "not frame data"),
        (b"(0.0) can0 123#R9", "not frame data"),
        (b"(0.0) can0 123#010203040506070809", "9 data bytes in a classic frame"),
        (b"(0.0) can0 123#0102_9", "not a raw length code"),
        (b"(0.0) can0 123#0102030405060708_8", "not a raw length code"),
        (b"(0.0) can0 123##0" + b"00" * 9, "9 is no CAN FD length"),
        (b"(0.0) can0 123#81:00:00000242#0102", "CAN XL"),
        (b"(9999999999.0) can0 123#", "timestamp out of range"),
        (b"(0.0) c\xffn0 123#", "not a channel name"),
        (b"  can0  123   [3]  11 22", "not 3 data bytes"),
        (b"  can0  123   [2]  11 22 33", "not 2 data bytes"),
        (b"  can0  123   [9]  11 22", "9 data bytes in a classic frame"),
        (b"  can0  123  [09]  01 02 03 04 05 06 07 08 09", "9 is no CAN FD length"),
        (b" (2023-13-14 22:13:20.0)  can0  123   [1]  11", "not a date"),
        (b"DROPCOUNT: dropped 3 CAN frames on 'can0' socket (total drops 3)", "lost frames"),
    ],
)
def test_unreadable_lines_say_why(line: bytes, reason: str) -> None:
    with pytest.raises(LineError, match=reason):
        read(line)


def test_the_explanation_below_an_error_frame_is_no_fault() -> None:
    assert read(b"\tcontroller-problem{rx-overflow}") == EXPLANATION


def test_differences_are_summed_and_a_refused_line_does_not_count() -> None:
    clock = HumanClock(deltas=True)
    lines = [b" (000.000000)  can0  123   [0]", b" (000.000250)  can0  123   [0]"]
    lines += [b" (000.500000)  can0  123   [1]", b" (000.000250)  can0  123   [0]"]
    stamps = []
    for line in lines:
        try:
            row = read_candump_line(line, clock)
        except LineError:
            continue
        assert not isinstance(row, str)
        stamps.append(row[0])
    assert stamps == [0, 250_000, 500_000]


def test_offsets_and_differences_are_told_apart() -> None:
    assert are_deltas([0, 900, 20, 870, 30, 40])
    assert not are_deltas([0, 20, 40, 40, 41, 45])
    assert are_deltas([0, 10, 10, 10])
    assert not are_deltas([0, 10, 10])
    assert not are_deltas([0, 0, 0, 0])
    assert not are_deltas([0, 10, 10, 10, 20])
    assert not are_deltas([1700000000, 5, 7, 3])
    assert not are_deltas([])
