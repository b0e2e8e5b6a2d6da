"""TRC, python-can's CSV, BUSMASTER and GVRET: whatever the bytes, every line is read, or counted and named.

What python-can writes is read back as it was; a damaged file ends soon, and keeps what stands before that.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import can
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.log_parse import TRC_HEADERS, trc_log
from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate
from can_stream.logs.formats.busmaster import BusmasterParser
from can_stream.logs.formats.gvret import GvretParser
from can_stream.logs.formats.python_can_csv import read_csv_row
from can_stream.logs.formats.trc import TrcParser
from can_stream.logs.formats.trc_text.columns import LineBlock
from can_stream.logs.formats.trc_text.header import TrcHeader
from can_stream.logs.formats.trc_text.lines import read_trc_line
from can_stream.logs.log_blocks import (
    BlockParser,
    ChannelNames,
    LineParser,
    parse_lines,
    split_lines,
)
from can_stream.logs.log_reader import open_log
from tests.helpers.read_logs import assert_lines_are_accounted_for

PARSERS: list[Callable[[], BlockParser]] = [
    TrcParser,
    partial(LineParser, read_csv_row),
    BusmasterParser,
    GvretParser,
]
MUTATIONS = 120
MAX_SECONDS = 2


def _pick(*choices: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from(choices)


def _joined(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


_keywords = _pick(
    b";$FILEVERSION=1.0",
    b";$FILEVERSION=1.1",
    b";$FILEVERSION=1.3",
    b";$FILEVERSION=2.1",
    b";$FILEVERSION=9",
    b";$STARTTIME=45200.5;",
    b";$STARTTIME=x",
    b";$COLUMNS=N,O,T,B,I,d,R,L,D",
    b";$COLUMNS=O,T,I,d,l,D",
    b";$COLUMNS=N",
    b";   Start time: 04.10.2023 15:10:41.907.7",
    b";   Start time: 4/5/2023 15:10:41",
    b"; comment",
)
_trc = _joined(
    _pick(b"     1)", b"1)", b"      7", b"x)", b"", b"99999999)", b"123456789)"),
    _pick(b"     1059.9", b"  1.0", b" 1,5", b" -3.0", b" 1841", b" 1234567890.123", b" x.0", b" 1.1234567"),
    _pick(b"", b" 1", b" 2", b" 12", b" -", b" 300"),
    _pick(b"", b" Rx", b" tx", b" Warng", b" Error", b" DT", b" FD", b" BI", b" RR", b" ER", b" EV", b" Sx"),
    _pick(b" 0300", b" 18FF0001", b"     0800", b" FFFFFFFF", b" 123", b" zz", b""),
    _pick(b"", b" Rx", b" Tx"),
    _pick(b"", b" -"),
    _pick(b"  2", b" 8", b" 0", b" 9", b" 12", b" 15", b" 99", b" x", b""),
    _pick(
        b"  00 6A ",
        b"  00 6A",
        b"  00  6A",
        b" 00 11 22 33 44 55 66 77",
        b" RTR",
        b" 0",
        b"",
        b" " + b"0a " * 12,
    ),
    _pick(b"", b"\r"),
)
_csv = _joined(
    _pick(b"1700000000.0001", b"1e-05", b"-1.5", b"nan", b"99999999999", b"", b"1e99"),
    _pick(b",0x123,", b",0x1fffffff,", b",123,", b",0x20000000,", b",,"),
    _pick(b"0,0,0,", b"1,0,0,", b"0,1,0,", b"0,0,1,", b"1,1,1,", b"x,0,0,"),
    _pick(b"2,AQI=", b"8,AAAAAAAAAAA=", b"9,AAAAAAAAAAA=", b"2,AQ==", b"2,A", b"12,AAAAAAAAAAAAAAAA", b"3,"),
    _pick(b"", b"\r", b",1"),
)
_busmaster_header = _pick(
    b"***HEX***",
    b"***DEC***",
    b"***SYSTEM MODE***",
    b"***ABSOLUTE MODE***",
    b"***RELATIVE MODE***",
    b"***START DATE AND TIME 12:10:2023 14:29:5:640***",
    b"***START DATE AND TIME 40:10:2023 14:29:5:640***",
    b"***PROTOCOL CAN***",
    b"***PROTOCOL LIN***",
)
_busmaster = _joined(
    _pick(b"14:29:05:6402", b"00:00:00:0001", b"23:59:59:9999", b"99:00:00:0", b"x"),
    _pick(b" Rx ", b" Tx ", b" x "),
    _pick(b"1 ", b"2 ", b"300 "),
    _pick(b"0x100 ", b"0x18FF0001 ", b"0128 ", b"FFFFFFFF "),
    _pick(b"s ", b"x ", b"sr ", b"xr ", b"s-fd ", b"ERR ", b"q "),
    _pick(b"2 01 02", b"0", b"0 01", b"12 " + b"10 " * 12, b"2 01", b"9 1", b"2 999 1"),
)
_gvret = _joined(
    _pick(b"5,", b"4294967290,", b"4294967296,", b"2147483648,", b"-5,", b'"7",', b"1.7E+15,"),
    _pick(b"123,false,Rx,", b"18DAF110,true,Tx,", b'"123","false","Rx",'),
    _pick(b"0,1,01", b"1,2,01,02,", b'"0","1","01"', b"0,9,01"),
)
_noise = st.one_of(st.binary(max_size=60), _pick(b"", b"# x", b"  ", b";", b"\r", b"\x00"))
_lines = st.one_of(_keywords, _trc, _trc, _csv, _busmaster_header, _busmaster, _gvret, _noise)
_logs = st.lists(_lines, max_size=40).map(b"\n".join)


@pytest.mark.parametrize("new_parser", PARSERS)
@given(log=_logs, block_bytes=st.integers(1, 400))
def test_every_line_is_accounted_for_wherever_blocks_end(
    new_parser: Callable[[], BlockParser], log: bytes, block_bytes: int
) -> None:
    assert_lines_are_accounted_for(new_parser, log, block_bytes)


# Of one recorder: everything stands where it does in the line before, or nearly so.
_even = {
    "1.1": b"%6d) %11.1f  %s     %8s  %d  %s",
    "1.3": b"%6d) %13.3f 1  %s  %8s -  %-4d %s",
    "2.1": b"%7d %13.3f DT  1 %8s %s -  %-4d %s",
    "fd": b"%7d %13.3f FB  2 %8s %s -  %-4d %s",
}
_even_header = {
    "1.1": b";$FILEVERSION=1.1\n",
    "1.3": b";$FILEVERSION=1.3\n",
    "2.1": b";$FILEVERSION=2.1\n;$COLUMNS=N,O,T,B,I,d,R,L,D\n",
    "fd": b";$FILEVERSION=2.1\n;$COLUMNS=N,O,T,B,I,d,R,L,D\n",
}


@st.composite
def even_traces(draw: st.DrawFn) -> bytes:
    """A trace of one recorder, a few characters of which are others."""
    version = draw(st.sampled_from(list(_even)))
    lines = []
    for number in range(draw(st.integers(30, 70))):
        identifier = draw(st.sampled_from([b"0123", b"07FF", b"18FF0001", b"1FFFFFFF", b"0800", b"abc"]))
        length = draw(st.sampled_from([0, 1, 2, 7, 8, 9, 12] if version == "fd" else [0, 1, 2, 7, 8, 8, 9]))
        count = {9: 12, 12: 24}.get(length, length) if version == "fd" else length
        data = bytes(range(count)).hex(" ").upper().encode() + draw(_pick(b" ", b"", b"\r", b" \r"))
        word = draw(_pick(b"Rx", b"Rx", b"Rx", b"Tx"))
        pair = (identifier, word) if version in ("2.1", "fd") else (word, identifier)
        offset = draw(st.sampled_from([0, 12.3, 99999.9, 12345678.9, 1234567890.1]))
        lines.append(_even[version] % (number, offset, *pair, length, data))
    log = bytearray(b"\n".join(lines))
    for _ in range(draw(st.integers(0, 12))):
        log[draw(st.integers(0, len(log) - 1))] = draw(st.sampled_from(b" 0aAgR)-.,\n\t\r;\xff"))
    return _even_header[version] + bytes(log)


@given(log=even_traces())
@settings(suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
def test_the_fast_way_reads_what_the_slow_one_reads(log: bytes) -> None:
    parser, names, header = TrcParser(), ChannelNames(), TrcHeader()
    fast = parser.parse(log)
    slow = parse_lines(split_lines(log), names, lambda line: read_trc_line(line, header))
    assert fast.batch.frames.equals(slow.batch.frames)
    assert np.array_equal(fast.batch.channel, slow.batch.channel)
    assert parser.channels == names.names
    assert fast.faults == slow.faults
    assert (fast.unreadable, fast.others) == (slow.unreadable, slow.others)


@given(block=st.binary(max_size=80).map(lambda text: text.replace(b"x", b"\n")))
@example(block=b"\n\n\n\n\n\n\n\n\n")
def test_lines_are_found_where_they_are(block: bytes) -> None:
    if block:
        lines = LineBlock(block)
        assert [lines.line(number) for number in range(len(lines))] == split_lines(block)


@st.composite
def messages(draw: st.DrawFn, kinds: tuple[str, ...]) -> can.Message:
    kind = draw(st.sampled_from(kinds))
    is_extended = draw(st.booleans())
    size = draw(st.integers(0, 8))
    return can.Message(
        timestamp=draw(st.integers(0, 4_000_000_000_000)) / 1000,
        arbitration_id=draw(st.integers(0, 0x1FFFFFFF if is_extended else 0x7FF)),
        is_extended_id=is_extended,
        is_remote_frame=kind == "remote",
        is_error_frame=kind == "error",
        dlc=size if kind == "remote" else None,
        data=None if kind == "remote" else draw(st.binary(min_size=size, max_size=size)),
        channel=draw(st.integers(0, 5)),
        is_rx=draw(st.booleans()),
    )


def assert_same(frames: FrameBatch, written: list[can.Message]) -> None:
    assert frames.arbitration_id.tolist() == [message.arbitration_id for message in written]
    assert frames.length.tolist() == [message.dlc for message in written]
    data = [bytes(row[:size]) for row, size in zip(frames.data, frames.data_length().tolist(), strict=True)]
    assert data == [bytes(message.data) for message in written]
    for flag, is_set in (
        (FrameFlag.REMOTE, [message.is_remote_frame and not message.is_error_frame for message in written]),
        (FrameFlag.ERROR, [message.is_error_frame for message in written]),
    ):
        assert ((frames.flags & flag) != 0).tolist() == is_set


@pytest.mark.parametrize("version", ["V1_0", "V2_1"])
@given(written=st.lists(messages(("data",)), min_size=1, max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_python_can_writes_as_trc_is_read_back(
    version: str, written: list[can.Message], tmp_path: Path
) -> None:
    # The writer never goes back in time.
    written = sorted(written, key=lambda message: message.timestamp)
    path = tmp_path / "x.trc"
    writer = can.TRCWriter(str(path))
    writer.file_version = getattr(can.TRCFileVersion, version)
    with writer:
        for message in written:
            writer(message)
    reader = open_log(path)
    batches = list(reader)
    frames = concatenate([batch.frames for batch in batches])
    assert reader.unreadable == 0
    assert_same(frames, written)
    unit = 1_000_000 if version == "V1_0" else 1000
    assert np.abs(frames.timestamp_ns - [round(message.timestamp * 1e9) for message in written]).max() <= unit
    extended = [message.is_extended_id for message in written]
    assert ((frames.flags & FrameFlag.EXTENDED) != 0).tolist() == extended
    if version == "V2_1":
        sent = [not message.is_rx for message in written]
        assert ((frames.flags & FrameFlag.TX) != 0).tolist() == sent
        channels = [reader.channels[number] for batch in batches for number in batch.channel]
        assert channels == [f"can{message.channel}" for message in written]


@given(written=st.lists(messages(("data", "remote", "error")), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_python_can_writes_as_csv_is_read_back(written: list[can.Message], tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with can.CSVWriter(str(path)) as writer:
        for message in written:
            writer(message)
    reader = open_log(path)
    frames = concatenate([batch.frames for batch in reader])
    assert reader.unreadable == 0
    assert_same(frames, written)
    assert frames.timestamp_ns.tolist() == [
        round(message.timestamp * 1000) * 1_000_000 for message in written
    ]


def test_times_in_python_cans_csv_may_have_exponents() -> None:
    row = read_csv_row(b"1.5e-05,0x123,0,0,0,2,AQI=")
    assert row[0] == 15_000


def _sample(name: str, path: Path) -> bytes:
    """The bytes of a small file of a format."""
    dice = random.Random(name)
    if name in TRC_HEADERS:
        return trc_log(path, name, frames=60, seed=7).read_bytes()
    if name == "csv":
        rows = (f"{n}.5,0x{n:x},0,0,0,1,{dice.choice(('AQ==', 'Ag=='))}\n" for n in range(60))
        return b"timestamp,arbitration_id,extended,remote,error,dlc,data\n" + "".join(rows).encode()
    if name == "busmaster":
        rows = (f"00:00:{n:02}:0000 Rx 1 0x{n:03X} s 2 0A {n:02X}\n" for n in range(60))
        return b"***BUSMASTER Ver 3.2.2***\n***HEX***\n***ABSOLUTE MODE***\n" + "".join(rows).encode()
    rows = (f"{n * 2**28 % 2**32},{n:08X},false,Rx,0,2,0A,{n:02X},\n" for n in range(60))
    return b"Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2\n" + "".join(rows).encode()


def _mutated(log: bytes, dice: random.Random) -> tuple[bytes, int]:
    """A log with one piece changed, and where the change begins."""
    at = dice.randrange(len(log))
    size = dice.choice((0, 1, 1, 3, 40))
    piece = dice.choice(
        (b"", dice.randbytes(1), dice.randbytes(8), b"9" * 30, b"\n" * 40, b";$", b",", bytes(5000))
    )
    return log[:at] + piece + log[at + size :], at


@pytest.mark.parametrize("name", [*TRC_HEADERS, "csv", "busmaster", "gvret"])
def test_a_damaged_file_ends_soon_and_keeps_what_stands_before_the_damage(name: str, tmp_path: Path) -> None:
    format_name = "trc" if name in TRC_HEADERS else name
    log = _sample(name, tmp_path / "whole")
    path = tmp_path / "damaged"
    path.write_bytes(log)
    whole = concatenate([batch.frames for batch in open_log(path, format=format_name)])
    body = log.count(b"\n") - len(whole)
    for seed in range(MUTATIONS):
        damaged, at = _mutated(log, random.Random(seed))
        path.write_bytes(damaged)
        began = time.monotonic()
        reader = open_log(path, format=format_name)
        frames = concatenate([batch.frames for batch in reader])
        assert time.monotonic() - began < MAX_SECONDS
        assert len(frames) + reader.unreadable + sum(reader.others.values()) == reader.items
        assert len(frames) <= damaged.count(b"\n") + 1
        before = max(log[:at].count(b"\n") - body, 0)
        assert frames[:before].equals(whole[:before])
