"""BUSMASTER's logs: its ways to write times and numbers, and its kinds of frames."""

from __future__ import annotations

import pytest

from can_stream.frames.batches import FrameFlag
from can_stream.logs.formats.busmaster import BusmasterParser
from can_stream.logs.local_dates import local_ns
from can_stream.logs.log_blocks import ParsedBlock

HEAD = "***BUSMASTER Ver 3.2.2***\n***PROTOCOL {protocol}***\n***START DATE AND TIME {date}***\n"
HEAD += "***{base}***\n***{mode} MODE***\n"
S = 1_000_000_000


def parsed(
    *lines: str,
    mode: str = "SYSTEM",
    base: str = "HEX",
    date: str = "31:12:2023 23:59:5:31",
    protocol: str = "CAN",
) -> ParsedBlock:
    head = HEAD.format(mode=mode, base=base, date=date, protocol=protocol)
    return BusmasterParser().parse((head + "\n".join(lines)).encode())


def test_times_of_day_go_on_over_midnight_and_back_for_a_late_line() -> None:
    times = ("23:59:59:9990", "00:00:00:0010", "23:59:59:9995", "00:00:00:0020", "12:00:00:0000")
    block = parsed(*(f"{time} Rx 1 0x100 s 1 01" for time in times))
    start = local_ns(2023, 12, 31, 23, 59, 59)
    assert (block.batch.frames.timestamp_ns[:4] - start).tolist() == [
        *(999_000_000, 1_001_000_000, 999_500_000, 1_002_000_000),
    ]
    assert block.batch.frames.timestamp_ns[4] == local_ns(2024, 1, 1, 12)
    assert block.is_local


@pytest.mark.parametrize(
    ("mode", "seconds"), [("ABSOLUTE", [1, 1.5, 90_001]), ("RELATIVE", [1, 2.5, 90_003.5])]
)
def test_times_since_the_start_or_since_the_line_before(mode: str, seconds: list[float]) -> None:
    times = ("00:00:01:0000", "00:00:01:5000", "25:00:01:0000")
    block = parsed(*(f"{time} Rx 1 0x100 s 1 01" for time in times), mode=mode)
    start = local_ns(2023, 12, 31, 23, 59, 5) + 31_000_000
    assert (block.batch.frames.timestamp_ns - start).tolist() == [round(value * S) for value in seconds]


def test_without_a_date_times_count_from_zero_and_it_is_said() -> None:
    block = parsed("00:00:01:0000 Rx 1 0x100 s 1 01", date="2023-10-12 14:29:05")
    assert block.batch.frames.timestamp_ns.tolist() == [S]
    assert "--start-time" in block.faults[0].reason
    assert not block.is_local


def test_decimal_logs_and_the_bytes_that_old_versions_left_behind_a_length_of_0() -> None:
    block = parsed(
        "00:00:06:9840 Tx 1 0128 s 0 067 002",
        "00:00:06:9840 Rx 2 0496 s 2 068 014",
        base="DEC",
        mode="ABSOLUTE",
    )
    frames = block.batch.frames
    assert frames.arbitration_id.tolist() == [128, 496]
    assert frames.length.tolist() == [0, 2]
    assert bytes(frames.data[1][:2]) == bytes([68, 14])
    assert block.batch.channel.tolist() == [0, 1]


def test_remote_fd_and_error_frames() -> None:
    block = parsed(
        "00:00:00:0000 Rx 1 0x100 sr 8",
        "00:00:00:0000 Tx 1 0x18FF0001 x-fd 12 " + "0A " * 12,
        "00:00:00:0000 Rx 1 0x000 ERR 8 Bit Error",
    )
    assert block.batch.frames.flags.tolist() == [
        *(FrameFlag.REMOTE, FrameFlag.EXTENDED | FrameFlag.TX | FrameFlag.FD, FrameFlag.ERROR),
    ]
    assert block.batch.frames.length.tolist() == [8, 12, 0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("00:00:00:0000 Rx 1 0x2001 s 8 " + "00 " * 8, "more than 11 bits"),
        ("00:00:00:0000 Rx 1 0x100 s 2 00", "1 data bytes, where the length says 2"),
        ("00:00:00:0000 Rx 1 0x100 s 9 " + "00 " * 9, "9 data bytes in a classic frame"),
        ("00:00:00:0000 Rx 1 0x100 s-fd 9 " + "00 " * 9, "9 is no CAN FD length"),
        ("00:00:00:0000 Rx 1 0x100 s 1 1FF", "not a data byte"),
        ("24:00:00:0000 Rx 1 0x100 s 1 1F", "not a time of day"),
        ("00:00:60:0000 Rx 1 0x100 s 1 1F", "not a time and a channel"),
        ("hello", "not a line of a BUSMASTER log"),
        ("***STOP DATE AND TIME ***10:00:00:0000 Rx 1 0x12 s 1 01", "two lines in one"),
        ("10:00:00:0000 Rx 1 0x12 ERR 8 Bit 10:00:00:0001 Rx 1 0x12 s 1 01", "two lines in one"),
    ],
)
def test_what_no_frame_can_be_is_named(line: str, reason: str) -> None:
    (fault,) = parsed(line).faults
    assert reason in fault.reason


def test_logs_of_other_buses_are_named() -> None:
    (fault,) = parsed("00:00:00:0000 Rx 1 0x100 s 1 00", protocol="J1939").faults
    assert "J1939" in fault.reason
