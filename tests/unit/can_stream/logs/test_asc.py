"""Vector ASC: the cases that people reported, what each line is, and what a log's times count from."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from can_stream.errors import LineError
from can_stream.frames.batches import FD_LENGTHS, FrameBatch, FrameFlag, concatenate
from can_stream.logs.formats.asc import AscParser
from can_stream.logs.formats.asc_lines import AscReader, FdColumns, frame_of, is_asc_frame
from can_stream.logs.formats.asc_text import events
from can_stream.logs.formats.asc_text.columns import regular_lines
from can_stream.logs.formats.asc_text.events import kind_of_channel_event, kind_of_event
from can_stream.logs.formats.asc_text.fields import stamps
from can_stream.logs.formats.asc_text.header import AscHeader
from can_stream.logs.formats.asc_text.usual import find_layout
from can_stream.logs.formats.asc_text.words import WideText, WordWindow
from can_stream.logs.log_blocks import COMMENT, HEADER, Row
from can_stream.logs.log_reader import LogReader, open_log
from can_stream.text.text_columns import TextBlock

CASES = Path(__file__).parents[3] / "data" / "logs" / "asc"
S = 1_000_000_000
MS = 1_000_000
EXTENDED, REMOTE, ERROR = FrameFlag.EXTENDED, FrameFlag.REMOTE, FrameFlag.ERROR
FD, BRS, ESI, TX = FrameFlag.FD, FrameFlag.BRS, FrameFlag.ESI, FrameFlag.TX


@pytest.fixture(autouse=True)
def _berlin() -> Iterator[None]:
    """A zone that is not UTC: a date without one is local time."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def read_case(name: str) -> tuple[LogReader, FrameBatch]:
    reader = open_log(CASES / name)
    return reader, concatenate([batch.frames for batch in reader])


def berlin(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64)) - 3600 * S


def read(line: bytes) -> Row | str:
    return AscReader().read_line(line)


@pytest.mark.parametrize(
    ("name", "frames", "unreadable", "first"),
    [
        ("a01_canfd_classic.asc", 6, 0, berlin("2023-10-11T08:15:20.251132") - 3600 * S),
        ("a02_relative.asc", 4, 0, berlin("2023-07-12T10:11:12.1") - 3600 * S),
        ("a03_dec.asc", 3, 0, berlin("2023-07-12T10:11:24.500543") - 3600 * S),
        ("a04_german.asc", 1, 0, berlin("2020-03-05T14:37:49.1")),
        ("a04b_german_cp1252.asc", 1, 0, berlin("2020-03-05T14:37:49.1")),
        ("a05_chinese.asc", 2, 0, berlin("2021-09-02T09:37:49.223") - 3600 * S),
        ("h07_mai.asc", 1, 0, berlin("2021-05-05T14:37:49.1") - 3600 * S),
        ("a06_symbolic_negative.asc", 9, 2, berlin("2021-12-06T11:21:12.99")),
        ("a07_busmaster.asc", 3, 0, berlin("2023-07-11T10:20:30.8082") - 3600 * S),
        ("a08_date24.asc", 2, 0, berlin("2024-05-18T20:26:09.770773") - 3600 * S),
        ("a09_length_bitcount.asc", 4, 1, berlin("2022-10-06T11:12:13.501231") - 3600 * S),
        ("a10_no_events_line.asc", 2, 0, berlin("2021-12-06T11:21:13.1")),
        ("a11_comment_then_frame.asc", 2, 0, berlin("2021-12-06T11:21:13.1")),
        ("a14_no_header.asc", 2, 0, S // 10),
        ("a15_two_blocks.asc", 2, 0, berlin("2021-12-06T00:05:13.1")),
        ("a17_canfd_start.asc", 2, 0, berlin("2024-05-07T17:06:07.2") - 3600 * S),
        ("a18_printer_lines.asc", 0, 1, 0),
        ("a19_canfd_dec.asc", 5, 1, berlin("2023-10-11T08:15:20.251132") - 3600 * S),
    ],
)
def test_every_case_gives_its_frames_and_names_the_rest(
    name: str, frames: int, unreadable: int, first: int
) -> None:
    reader, batch = read_case(name)
    assert reader.format == "asc"
    assert (reader.frames, reader.unreadable) == (frames, unreadable)
    assert reader.frames + reader.unreadable + sum(reader.others.values()) == reader.items
    assert len(reader.problems) == unreadable
    if frames:
        assert batch.timestamp_ns[0] == first
        assert reader.is_local == (name != "a14_no_header.asc")


def test_classic_frames_on_canfd_lines_are_classic() -> None:
    for name in ("a01_canfd_classic.asc", "a19_canfd_dec.asc"):
        reader, frames = read_case(name)
        assert frames.arbitration_id[:4].tolist() == [0x14E, 0x14F, 0x150, 0x151]
        assert frames.flags[:4].tolist() == [0, FD | BRS, FD | BRS, REMOTE]
        assert frames.length[:4].tolist() == [8, 8, 0, 8]
        assert frames.flags[-1] == ERROR
    assert reader.problems[0].line == 11


def test_relative_times_add_up_over_lines_that_are_no_frames() -> None:
    _, frames = read_case("a02_relative.asc")
    assert np.diff(frames.timestamp_ns).tolist() == [S // 10] * 3
    log = (
        b"base hex timestamps relative\n0.5 1 1 Rx d 0\n0.25 CAN 1 Status:x\n0.25 1 N Rx d 0\n1 1 2 Rx d 0\n"
    )
    block = AscParser().parse(log + b"2.5 1 3 Rx d 0\n" * 300 + b"0.5 // x\n1.5 1 3 Rx d 0\n")
    stamps_ns = block.batch.frames.timestamp_ns
    assert (stamps_ns[:3] / S).tolist() == [0.5, 2, 4.5]
    assert (stamps_ns[-2:] / S).tolist() == [752, 754]


def test_blocks_of_a_trigger_have_times_of_their_own() -> None:
    _, frames = read_case("a15_two_blocks.asc")
    assert np.diff(frames.timestamp_ns).tolist() == [600 * S]


def test_times_that_busmaster_counts_from_midnight() -> None:
    _, frames = read_case("a07_busmaster.asc")
    assert np.diff(frames.timestamp_ns).tolist() == [900_000, 1_700_000]
    told = b"date Tue Jul 11 10:20:30 am 2023\nbase hex timestamps absolute\n37230.8 1 121 Rx d 0\n"
    assert AscParser().parse(told).batch.frames.timestamp_ns[0] == berlin("2023-07-11T20:41:00.8") - 3600 * S


def test_what_cannot_be_read_is_named() -> None:
    reader, frames = read_case("a06_symbolic_negative.asc")
    assert [(problem.line, problem.reason.split(":")[0]) for problem in reader.problems] == [
        (6, "a symbolic name instead of the identifier"),
        (8, "1 of 2 data bytes can be read"),
    ]
    assert frames.length.tolist() == [2, 2, 2, 9, 0, 4, 0, 0, 1]
    assert frames.flags.tolist() == [0, 0, EXTENDED, 0, REMOTE, REMOTE, ERROR, ERROR, 0]
    assert reader.others == {
        "header lines": 3, "transmit requests": 1, "status lines": 1, "bus statistics": 1,
    }  # fmt: skip
    reader, _ = read_case("a09_length_bitcount.asc")
    assert [(problem.line, problem.reason) for problem in reader.problems] == [
        (12, "5 of 8 data bytes can be read")
    ]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (b"0.5 1 123 Rx d 2 0a B", (S // 2, "can0", 0x123, 0, 2, b"\x0a\x0b")),
        (b" 0,000001 0 123 tx D 0", (1000, "can0", 0x123, TX, 0, b"")),
        (b"-0.5 12 1FFFFFFFx Rx d 0", (-S // 2, "can11", 0x1FFFFFFF, EXTENDED, 0, b"")),
        (b"7 A 0x12 Rx d 1 FF", (7 * S, "can9", 0x12, 0, 1, b"\xff")),
        (b"0.0 1 3FF Tx d D 1 2 3 4 5 6 7 8  Length = 1", (0, "can0", 0x3FF, TX, 13, bytes(range(1, 9)))),
        (b"0.0 1 BE Rx d 1 01 Length = 1 BitCount = 9 ID = 291", (0, "can0", 291, 0, 1, b"\1")),
        (b"0.0 1 EEC1 Rx d 1 01 Length = 1 BitCount = 9 ID = 291x", (0, "can0", 291, EXTENDED, 1, b"\1")),
        (b"0.0 1 Speed Rx d 1 01 Length = 1 BitCount = 9 ID = 291x", (0, "can0", 291, EXTENDED, 1, b"\1")),
        (b"0.0 1 100 Rx r", (0, "can0", 0x100, REMOTE, 0, b"")),
        (b"0.0 1 100 Rx r Length = 1704000 BitCount = 145", (0, "can0", 0x100, REMOTE, 0, b"")),
        (b"0.0 1 100 Rx R f Length = 1", (0, "can0", 0x100, REMOTE, 15, b"")),
        (b"0.0 2 ErrorFrame ECC: 10100010", (0, "can1", 0, ERROR, 0, b"")),
        (b"0.0 CANFD 5 Tx ErrorFrame Not Acknowledge error", (0, "can4", 0, ERROR | TX, 0, b"")),
        (b"0.0 CANFD 1 Rx 1x 1 1 9 12 " + b"01 " * 12 + b"0 0 7000", (0, "can0", 1, 0x39, 12, b"\1" * 12)),
        (b"0.0 CANFD 1 Rx 1 Name 1 0 12 12 " + b"01 " * 12, (0, "can0", 1, FD | BRS, 12, b"\1" * 12)),
        (b"0.0 CANFD 1 Rx 1 0 0 0 f 64 " + b"01 " * 64 + b"0 0 0", (0, "can0", 1, FD, 64, b"\1" * 64)),
        (b"0.0 CANFD 1 Rx 1 0 0 a 8 " + b"01 " * 8 + b"0 0 0", (0, "can0", 1, 0, 10, b"\1" * 8)),
        (b"0.0 CANFD 1 Rx 1 0 1 5 0 140000 73 200050 7a60", (0, "can0", 1, REMOTE, 5, b"")),
    ],
)  # fmt: skip
def test_frames(line: bytes, row: Row) -> None:
    assert read(line) == row


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"0.0 1 800 Rx d 0", "identifier 800 has more than 11 bits"),
        (b"0.0 1 20000000x Rx d 0", "identifier 20000000 has more than 29 bits"),
        (b"0.0 300 123 Rx d 0", "not a channel number"),
        (b"0.0 1 123 Rx d 2 01", "1 of 2 data bytes"),
        (b"0.0 1 123 Rx d 2 01 02 03", "more than 2 data bytes"),
        (b"0.0 1 123 Rx d G", "not a length code"),
        (b"0.0 1 123 Rx q 1", "neither d"),
        (b"0.0 1 123 Qx d 0", "neither an identifier with Rx or Tx"),
        (b"0.0", "nothing behind the time"),
        (b"9999999999999 1 123 Rx d 0", "timestamp out of range"),
        (b"0.0 CANFD 1 Rx 1 1 0 9 12 " + b"01 " * 11, "11 of 12 data bytes"),
        (b"0.0 CANFD 1 Rx 1 1 0 8 12 " + b"01 " * 12, "contradict"),
        (b"0.0 CANFD 1 Rx 1 1 0 8 0 0 0 3000", "0 of 8 data bytes"),
        (b"0.0 CANFD 1 Rx 1 0 0 1 1 01 0 0 10", "a remote frame with data"),
        (b"0.0 CANXD 1 Rx 1 0 0 1 1 01 0 0 10", "not a frame and no event"),
        (b"0.0 1 123 Rx d 1 01   0.1 1 124 Rx d 1 02", "two lines in one"),
        (b"0.0 1 123 Rx r 1   0.1 1 124 Tx d 1 02", "two lines in one"),
        (b"0.0 CANFD 1 Rx 1 0 0 1 1 01   0.1 CANFD 1 Rx 1 0 0 1 1 01 0 0 1000", "two lines in one"),
        (b"0.0 CAN 1 Status:chip status error active   0.1 1 123 Rx d 1 02", "two lines in one"),
        (b"0.0 Start of measurement0.1 CANFD 1 Tx 123 1 0 8 8 01", "two lines in one"),
        (b"0.0 1 ErrorFrame Flags = 0xe ID = 0 0.1 1 123x Rx d 1 02", "two lines in one"),
        (b"0.0 1 123 TxRq d 1 01 0.1 1 124 Rx d 1 02", "two lines in one"),
        (b"End TriggerBlock 0.1 1 124 Rx d 1 02", "two lines in one"),
        (b"0.0 Li 3d Rx 1 00 checksum = 3 0.1 1 123x Rx d 1 02", "two lines in one"),
        (b"hello", "not a line of an ASC log"),
        (b"base oct", "the base is neither hex nor dec"),
    ],
)
def test_what_is_no_frame_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(LineError, match=reason):
        read(line)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"0.0 CANXL 2 Rx XLFF 243215 176", events.CAN_XL),
        (b"0.0 CAN 1 Status:chip status error active", events.STATUS),
        (b"0.0 1  Statistic: D 1 R 0", events.STATISTICS),
        (b"0.0 1 OverloadFrame", events.OVERLOAD),
        (b"0.0 1 J1939TP FEE3p 6 0 0 - Rx d 23", "J1939 transport messages"),
        (b"0.0 Li 3c Tx 8 00", "LIN events"),
        (b"0.0 L12 3c Tx 8 00", "LIN events"),
        (b"0.0 Fr RMSG 0 0 1 1 Rx", "FlexRay events"),
        (b"0.0 ETH 1 Rx 74:0102", "Ethernet events"),
        (b"0.0 SV: 1 0 1 ::a = 5", "system variables"),
        (b"0.0 Door := 5", events.ENVIRONMENT),
        (b"0.0 log trigger event", events.OTHER),
        (b"0.0 CANFD   Start of measurement", HEADER),
        (b"0.0 Start der Messung", HEADER),
        (b"no internal events logged", HEADER),
        (b"//0.0 previous log file: x.asc", COMMENT),
    ],
)
def test_events_by_kind(line: bytes, kind: str) -> None:
    assert read(line) == kind


def test_a_damaged_frame_is_no_event() -> None:
    assert kind_of_event([b"log", b"direct", b"start"]) == events.OTHER
    with pytest.raises(LineError):
        kind_of_event([b"CANFX", b"1", b"Rx"])
    with pytest.raises(LineError):
        kind_of_channel_event([b"F4", b"Qx", b"d", b"0"])


def test_a_date_that_cannot_be_read_is_said_once() -> None:
    log = b"date Xyz Foo 5 02:37:49 2020\nBegin Triggerblock Xyz Foo 5 02:37:49 2020\n0.5 1 1 Rx d 0\n"
    block = AscParser().parse(log)
    assert [fault.reason for fault in block.faults] == [
        "the date of the header cannot be read: times count from 0"
    ]
    assert block.batch.frames.timestamp_ns.tolist() == [S // 2]
    assert not block.is_local
    late = AscParser().parse(b"date Tue Nov 14 10:13:20 2023\nBegin Triggerblock today\n0.5 1 1 Rx d 0\n")
    assert "from the date before" in late.faults[0].reason
    assert late.batch.frames.timestamp_ns.tolist() == [berlin("2023-11-14T10:13:20.5")]


def test_the_header_may_come_in_any_order_and_again() -> None:
    header = AscHeader()
    for line in (
        b"internal events logged",
        b"base dec",
        b"Date Tue Nov 14 10:13:20 2023",
        b"base hex timestamps relative",
    ):
        assert header.read_line(line, line.split()) == HEADER
    assert (header.base, header.clock.is_relative) == (16, True)
    assert header.clock.read(S) == berlin("2023-11-14T10:13:21")
    assert header.clock.read(S) == berlin("2023-11-14T10:13:22")


def test_the_flags_column_decides() -> None:
    assert frame_of(FdColumns(brs=False, esi=True, code=8, length=8, flags=0x303000)) == (FD | BRS, 8)
    assert frame_of(FdColumns(brs=False, esi=False, code=8, length=8, flags=0x200000)) == (0, 8)
    assert frame_of(FdColumns(brs=True, esi=False, code=8, length=8, flags=0)) == (FD | BRS, 8)
    for code, length in enumerate(FD_LENGTHS):
        assert frame_of(FdColumns(brs=False, esi=False, code=code, length=length, flags=None)) == (FD, length)


def test_only_a_frame_makes_a_file_without_header_a_vector_log(tmp_path: Path) -> None:
    assert is_asc_frame(b"0.100000 1 122 Rx d 2 E3 0C")
    assert is_asc_frame(b"0.1 CANFD 1 Rx 122 1 0 0 0")
    for line in (
        b"0.1 Start of measurement",
        b"1 1 122 Rx d 0",
        b"12.345 00000100 8 00 01",
        b"0.1 hello",
        b"",
    ):
        assert not is_asc_frame(line)


def test_a_log_of_many_channels_numbers_them_as_they_come() -> None:
    lines = [
        b"0.%06d %d  123             Rx   d 1 01" % (number, 1 + number * 7 % 20) for number in range(100)
    ]
    parser = AscParser()
    block = parser.parse(b"\n".join(lines))
    names = [parser.channels[number] for number in block.batch.channel.tolist()]
    assert names == [f"can{number * 7 % 20}" for number in range(100)]
    assert parser.channels[:3] == ["can0", "can7", "can14"]


def test_words_of_lines_end_where_the_window_cannot_see() -> None:
    text = TextBlock(b" ab  c\n\nabcdefgh i\nx" + b" " * 40)
    wide = WideText(text)
    window = WordWindow(wide, text.start, text.end, 8, 2)
    assert window.count.tolist() == [2, 0, 0, 1]
    assert text.raw[window.begin[1, 0] : window.end[1, 0]] == b"c"
    ok = np.ones(1, np.bool_)
    is_time = np.ones(4, np.bool_)
    stamps(text, window.begin[0], window.end[0], is_time)
    assert not is_time.any()
    assert wide.pieces(np.array([10**6]), 8, ok).shape == (1, 8)
    assert not ok[0]


def test_a_layout_is_that_of_a_data_frame_in_columns() -> None:
    layout = find_layout(b"   0.001000 1  123             Rx   d 3 01 02 03")
    assert layout is not None
    assert (layout.stamp.point, layout.stamp.fraction, layout.identifier) == (4, 6, 15)
    assert find_layout(b"// x") is None
    assert find_layout(b"0.1 1 123 Rx d 0\n") is None
    assert regular_lines(TextBlock(b"")).ok.tolist() == []


def _fd_log_lines(stamp: bytes) -> list[bytes]:
    tail = b"      10   20   303000        0"
    return [
        b"%s CANFD   1 Rx   %8s %33s1 0 %x %2d %s%s"
        % (stamp, name, label, code, size, b" ".join([b"A5"] * size), tail)
        for name in (b"123", b"18DAF1x", b"18DAF110x")
        for label in (b"", b"Eng_Msg" + b" " * 25)
        for code, size in enumerate(FD_LENGTHS)
    ]


def test_what_stands_in_columns_is_regular() -> None:
    fd = _fd_log_lines(b"   0.001000")
    lines = regular_lines(TextBlock(b"\n".join([*fd, b"x" * 200])))
    assert lines.ok[:-1].all()
    assert lines.frames.length[:16].tolist() == list(FD_LENGTHS)
    plain = [
        b"   0.001000 1  %-15s Rx   d %d %s%s" % (name, size, b" ".join([b"%3d" % byte] * size), tail)
        for name in (b"123", b"2047", b"12345678", b"536870911x", b"99999999x")
        for size in range(9)
        for byte in (0, 7, 42, 255)
        for tail in (b"", b" ", b"  Length = 244016 BitCount = 125 ID = 384")
    ]
    both = regular_lines(TextBlock(b"\n".join([*plain, *fd, b"x" * 200])), is_decimal=True)
    assert (~both.ok).sum() == 1 + sum(line.split()[2] == b"12345678" for line in plain)


def test_an_identifier_longer_than_its_field_moves_what_is_behind_it() -> None:
    line = b" 0.00%d000 CANFD   1 Rx   %s %33s0 0 2  2 A5 5A        0    0     1000        0"
    lines = [line % (n % 10, b"%8s" % (b"123", b"1A841EDDx", b"A841EDDx")[n % 3], b"") for n in range(60)]
    assert regular_lines(TextBlock(b"\n".join([*lines, b" " * 64]))).ok.tolist() == [True] * 60 + [False]
    # One digit more in place of the blank before it.
    lines[31] = lines[31].replace(b" 1A841EDDx", b"71A841EDDx")
    parsed = AscParser().parse(b"\n".join(lines))
    assert (parsed.unreadable, parsed.faults[0].line) == (1, 31)
    assert parsed.batch.frames.arbitration_id.tolist() == [
        (0x123, 0x1A841EDD, 0xA841EDD)[n % 3] for n in range(60) if n != 31
    ]


@pytest.mark.parametrize(
    ("name", "added", "read"),
    [
        (b"BE", b"ID = 291", 291),
        (b"BE", b"ID  =\t291", 291),
        (b"FACEx", b"ID = 291x", 291),
        (b"DEADBEEF", b"ID = 291x", 291),
        (b"BE", b"", 0xBE),
        (b"0BE", b"ID = 291", 0xBE),
        (b"CF00400x", b"ID = 291x", 0xCF00400),
    ],
)
@pytest.mark.parametrize(
    "columns", [b"%d.100000 1  %-15s Rx   d 1 01  Length = 1 %s", b"%d.1 1 %s Rx d 1 01 Length = 1 %s"]
)
def test_a_name_that_looks_like_a_number_is_a_name_in_columns_too(
    name: bytes, added: bytes, read: int, columns: bytes
) -> None:
    lines = [columns % (number % 10, name, added) for number in range(40)]
    parsed = AscParser().parse(b"\n".join(lines))
    assert parsed.batch.frames.arbitration_id.tolist() == [read] * 40
