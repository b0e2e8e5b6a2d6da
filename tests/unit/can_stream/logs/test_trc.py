"""PEAK traces: start times, columns as declared, and lines that are nothing of the kind."""

from __future__ import annotations

import pytest

from can_stream.errors import LineError
from can_stream.frames.batches import FrameFlag
from can_stream.logs.formats.trc import TrcParser
from can_stream.logs.formats.trc_text.header import TrcHeader, date_ns, days_ns
from can_stream.logs.formats.trc_text.layout import place_of
from can_stream.logs.formats.trc_text.lines import read_trc_line
from can_stream.logs.local_dates import local_ns
from can_stream.logs.log_blocks import Row

V21 = b";$FILEVERSION=2.1\n;$STARTTIME=45200.5\n;$COLUMNS=%s\n"


def header(*lines: bytes) -> TrcHeader:
    known = TrcHeader()
    for line in lines:
        known.read(line)
    return known


def row(line: bytes, known: TrcHeader) -> Row:
    read = read_trc_line(line, known)
    assert not isinstance(read, str)
    return read


@pytest.mark.parametrize(
    ("text", "date", "ns"),
    [
        (b"04.10.2023 15:10:41.907.7", (2023, 10, 4, 15, 10, 41), 907_700_000),
        (b"24.06.2007 12:43:01.12", (2007, 6, 24, 12, 43, 1), 120_000_000),
        (b"2015-06-21 18:11:07.246.0", (2015, 6, 21, 18, 11, 7), 246_000_000),
        (b"1/21/2025 21:38:15.057.0", (2025, 1, 21, 21, 38, 15), 57_000_000),
        (b"21/1/2025 9:38:15 PM", (2025, 1, 21, 21, 38, 15), 0),
        (b"5/5/2022 12:00:00 AM", (2022, 5, 5, 0, 0, 0), 0),
    ],
)
def test_start_times_of_several_countries(text: bytes, date: tuple[int, ...], ns: int) -> None:
    assert date_ns(text) == (local_ns(*date) + ns, True)


def test_a_start_time_with_a_zone_is_no_local_time() -> None:
    assert date_ns(b"2023-11-14 22:13:20.100000+00:00") == (1_700_000_000_100_000_000, False)
    assert date_ns(b"2023-11-15 00:43:20+02:30") == (1_700_000_000_000_000_000, False)


@pytest.mark.parametrize(
    "text", [b"05/04/2022 11:57:29.473", b"5-4-22 11:57:29", b"31.02.2022 00:00:00", b"soon"]
)
def test_a_start_time_that_may_be_two_dates_or_none_is_named(text: bytes) -> None:
    parsed = TrcParser().parse(b";   Start time: " + text + b"\n     1)  1841  0001  1  00\n")
    assert parsed.unreadable == 1
    assert parsed.batch.frames.timestamp_ns.tolist() == [1_841_000_000]
    assert not parsed.is_local


def test_days_are_read_exactly() -> None:
    assert days_ns(b"45678.9015631597") - local_ns(2025, 1, 21, 21, 38, 15) == 56_998_080
    assert days_ns(b"45678,5") == local_ns(2025, 1, 21, 12)
    assert days_ns(b"45678.9999999999999999") == local_ns(2025, 1, 22)
    for nonsense in (b"", b"0", b"1.5", b"-1.5", b"999999.5", b"1e3", b"12.12.2012"):
        with pytest.raises(LineError):
            days_ns(nonsense)


def test_a_comment_does_not_overrule_the_exact_start() -> None:
    known = header(b";$STARTTIME=45200.5", b";   Start time: 05/04/2022 11:57:29.473.1")
    assert known.start_ns == local_ns(2023, 10, 1, 12)


def test_a_comment_with_a_zone_is_the_exact_start() -> None:
    known = header(b";$STARTTIME=45244.9259259", b";   Start time: 2023-11-14 22:13:20.000100+00:00")
    assert (known.start_ns, known.is_local) == (1_700_000_000_000_100_000, False)


def test_columns_stand_where_they_are_declared() -> None:
    known = header(*(V21 % b"O,B,T,I,d,R,l,D").splitlines())
    assert row(b"1.5 3 BI 00000123 tx x 12 " + b"0A " * 12, known) == (
        *(local_ns(2023, 10, 1, 12) + 1_500_000, "can2", 0x123),
        FrameFlag.EXTENDED | FrameFlag.FD | FrameFlag.BRS | FrameFlag.ESI | FrameFlag.TX,
        *(12, b"\x0a" * 12),
    )


@pytest.mark.parametrize(
    "columns", [b"N,O,T,B,I,d0,d1", b"N,O,T", b"D,O,T,I,l", b"N,O,T,I,I,l,D", b"O,T,I,l,L,D"]
)
def test_columns_that_are_none_are_named_once_and_with_each_line(columns: bytes) -> None:
    parsed = TrcParser().parse(V21 % columns + b"1 0.0 DT 1 0102 Rx 1 00\n")
    assert parsed.unreadable == 2
    assert all("columns" in fault.reason for fault in parsed.faults)


def test_versions_that_nobody_knows_are_named() -> None:
    parsed = TrcParser().parse(b";$FILEVERSION=3.0\n1 0.0 DT 1 0102 Rx 1 00\n")
    assert [fault.reason for fault in parsed.faults] == [
        "version 3.0 of the TRC format: 1.0 to 1.3, 2.0 and 2.1 are read"
    ] * 2


def test_a_file_of_two_traces_has_the_time_of_each() -> None:
    one = b";$FILEVERSION=1.1\n;$STARTTIME=45200.5\n 1)  1.0  Rx 0300 1 00\n"
    two = b";$FILEVERSION=1.1\n;$STARTTIME=45201.5\n 1)  1.0  Rx 0300 1 00\n"
    first, second = TrcParser().parse(one + two).batch.frames.timestamp_ns.tolist()
    assert second - first == local_ns(2023, 10, 2, 12) - local_ns(2023, 10, 1, 12)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1) 1.0 Rx 0800 1 00", "more than 11 bits"),
        (b"1) 1.0 Rx FFFFFFFF 1 00", "more than 29 bits"),
        (b"1) 1.0 Rx 0300 2 00", "1 data bytes, where the length says 2"),
        (b"1) 1.0 Rx 0300 1 00 11", "more than the 1 data bytes"),
        (b"1) 1.0 Rx 0300 9 00 01 02 03 04 05 06 07 08", "9 data bytes in a classic frame"),
        (b"1) 1.0 Rx 0300 1 xx", "not a data byte"),
        (b"1) 1.0 Sx 0300 1 00", "neither Rx nor Tx"),
        (b"1) 1.0 Rx 0300 99 RTR", "99 is no length code"),
        (b"1) x.0 Rx 0300 1 00", "not a time offset"),
        (b"x) 1.0 Rx 0300 1 00", "not a line of a TRC trace"),
        (b"1) 999999999999999 Rx 0300 1 00", "timestamp out of range"),
        (b"1)", "too few columns"),
    ],
)
def test_what_no_frame_can_be_is_named(line: bytes, reason: str) -> None:
    with pytest.raises(LineError, match=reason):
        read_trc_line(line, header(b";$FILEVERSION=1.1"))


def test_raw_length_codes_and_j1939_messages_are_told_apart() -> None:
    known = header(b";$FILEVERSION=1.3")
    assert row(b"1) 1.0 1 Rx 0300 - 9 " + b"00 " * 8, known)[4:] == (9, bytes(8))
    assert read_trc_line(b"2) 1.0 1 Rx 18EF0102 - 9 " + b"00 " * 9, known) == "J1939 messages"


@pytest.mark.parametrize(
    ("line", "identifier", "data"),
    [
        (b"1 1.0 ER 1 - Rx - 5 04 00 02 00 00", 4, b"\0\2\0\0"),
        (b"1 1.0 ER 1 - - - 0", 0, b""),
        (b"1 1.0 ER 1 Tx 08 00 19 08 08", 8, b"\x00\x19\x08\x08"),
        (b"1 1.0 ER 1 0008 Rx - 4 00 19 08 08", 8, b"\x00\x19\x08\x08"),
    ],
)
def test_error_frames_of_version_2(line: bytes, identifier: int, data: bytes) -> None:
    read = row(line, header(*(V21 % b"N,O,T,B,I,d,R,L,D").splitlines()))
    assert read[2] == identifier
    assert read[3] & FrameFlag.ERROR
    assert read[4:] == (len(data), data)


def test_only_frames_with_data_have_a_layout() -> None:
    columns = header(b";$FILEVERSION=1.1").columns
    assert columns is not None
    assert place_of(b"     1)         9.0  Rx         0260  2  00 6A ", columns) is not None
    for line in (
        b"     1)         9.0  Rx         0260  0  ",
        b"     1)         9.0  Rx         0260  3  RTR",
    ):
        assert place_of(line, columns) is None


def test_version_1_0_has_no_types_and_says_errors_among_the_data() -> None:
    known = header()
    start = b"     1)      1841  "
    assert row(start + b"0008  4  ERROR  00 19 08 08", known)[2:] == (
        8,
        FrameFlag.ERROR,
        4,
        b"\x00\x19\x08\x08",
    )
    assert read_trc_line(start + b"FFFFFFFF  4  00 00 00 04  ------BUSLIGHT", known) == "bus warnings"
    assert row(start + b"0100  3  RTR", known)[3:] == (FrameFlag.REMOTE, 3, b"")
