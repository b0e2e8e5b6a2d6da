"""Any bytes are read or counted, wherever the blocks are cut; what is formatted is read back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate
from can_stream.logs.formats.candump import CandumpParser
from can_stream.logs.formats.candump_lines import HumanClock, read_candump_line
from can_stream.logs.formats.crtd import read_crtd_line
from can_stream.logs.formats.gvret import GvretParser
from can_stream.logs.log_blocks import (
    BlockParser,
    ChannelNames,
    LineParser,
    parse_lines,
    split_lines,
)
from can_stream.text.candump_format import format_candump
from tests.helpers.read_logs import assert_lines_are_accounted_for, read_text
from tests.helpers.strategies import frame_batches

PARSERS: list[Callable[[], BlockParser]] = [CandumpParser, GvretParser, partial(LineParser, read_crtd_line)]

_HEX = b"0123456789ABCDEFabcdef"


def _pick(*choices: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from(choices)


def _joined(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


_digits = st.lists(st.sampled_from(list(_HEX)), max_size=18).map(bytes)
# Lines near enough to the real thing to get past the first check, or only just not.
_channels = _pick(b"can0", b"can1", b" can0", b"vcan0123456789", b"c\xffn", b"an#0", b"a b", b"")
_identifier_and_data = _joined(
    _pick(b"123", b"7FF", b"800", b"12345678", b"20000088", b"FFFFFFFF", b"1234", b"x23"),
    _pick(b"#", b"##1", b"#R", b"#R8_", b""),
    _digits,
    _pick(b"", b" T", b" R", b"_9", b" "),
    _pick(b"", b"\r"),
)
_candump = _joined(
    _pick(b"(", b" (", b""),
    _pick(
        b"1.000001", b"1700000000.999999", b"1.000000001", b"9999999999.000000", b"-3.5", b"1.00000x", b"7"
    ),
    _pick(b") ", b")", b")  "),
    _channels,
    _pick(b" ", b""),
    _identifier_and_data,
)
_human = _joined(
    _pick(b"", b" (1.5) ", b" (2023-11-14 22:13:20.000001) ", b" (000.000001) "),
    _pick(b" can0 ", b"", b" can1  TX B E "),
    _pick(b" 123 ", b" 12345678 ", b" <0x123> ", b" 20000004 "),
    _pick(b" [2] ", b" [02] ", b" [8] ", b" {9} ", b" [0] "),
    _pick(b" 11 22", b" 11`22", b" 00000001 00000010", b" 11 22 33 44 55 66 77 88", b" remote request", b""),
    _pick(b"", b"  '..'", b"  ERRORFRAME", b" 99"),
)
_gvret = _joined(
    _pick(b"1000,", b"-5,", b"123456789012345,", b"1234567890123456,", b"99999999999999999999,", b","),
    _pick(b"123,", b"00000123,", b"18DAF110,", b"FFFFFFFF,", b"0x7,", b"xyz,"),
    _pick(b"true,", b"false,", b"TRUE,", b"1,", b"maybe,"),
    _pick(b"Rx,", b"Tx,", b"", b"No,"),
    _pick(b"0,", b"1,", b"12,", b"999,", b"x,"),
    _pick(b"0,", b"2,", b"8,", b"12,", b"9,", b"-1,"),
    _pick(b"", b"01,02,", b"01,02", b"0x1,2,", b"01,02,03,04,05,06,07,08,", b"00," * 12, b"zz,zz,"),
)
_crtd = _joined(
    _pick(b"1700000000.000001 ", b"1.5 ", b"9999999999.0 ", b"x "),
    _pick(b"R11 ", b"1R29 ", b"2T11 ", b"CXX ", b"999R11 ", b"RX1 "),
    _pick(b"7DF", b"18DAF110", b"FFFFFFFF", b"zz"),
    _pick(b"", b" 01 02", b" 1 2 3", b" 01" * 9, b" xx"),
)
_lines = st.one_of(_candump, _human, _gvret, _crtd, st.binary(max_size=60), _pick(b"", b"# x", b"  "))
_logs = st.lists(_lines, max_size=30).map(b"\n".join)
_regular = st.one_of(
    _joined(_pick(b"123#", b"12345678#", b"20000088#", b"#", b"1#3#"), _digits), _identifier_and_data
)
# Of one recorder: everything stands where it does in the line before, or nearly so.
_seconds = _pick(b"1700000000", b"1700000001", b"2700000000", b"1700000)00", b"170000000x", b"9999999999")
_even_lines = _joined(
    _pick(b"("),
    _seconds,
    _pick(b".000001) ", b".99999)) "),
    _pick(b"can0 ", b"can1 ", b"an#0 ", b"a  b "),
    _regular,
)
_even_logs = st.lists(_even_lines, max_size=30).map(b"\n".join)


@pytest.mark.parametrize("new_parser", PARSERS)
@given(log=st.one_of(_logs, _even_logs), block_bytes=st.integers(1, 200))
@example(log=b"(1.000000) can0 123#11", block_bytes=7)
def test_every_line_is_accounted_for_wherever_blocks_end(
    new_parser: Callable[[], BlockParser], log: bytes, block_bytes: int
) -> None:
    assert_lines_are_accounted_for(new_parser, log, block_bytes)


@pytest.mark.parametrize("new_parser", PARSERS)
@given(log=st.binary(max_size=400))
def test_any_bytes_are_read_or_counted(new_parser: Callable[[], BlockParser], log: bytes) -> None:
    read_text(new_parser(), log)


@given(log=st.one_of(_logs, _even_logs))
@example(log=b"(1.000001) can0 123#11\n" * 2 + b"(1.000001) an#0 123#11\n" * 2)
@example(log=b"(1.000001) can0 123#11\n" * 2 + b"(1.000001) can0 12345678#\n(1.0)0001) can0 123#11\n")
def test_the_fast_way_reads_what_the_slow_one_reads(log: bytes) -> None:
    parser, names, clock = CandumpParser(), ChannelNames(), HumanClock()
    fast = parser.parse(log)
    slow = parse_lines(split_lines(log), names, lambda line: read_candump_line(line, clock))
    assert fast.batch.frames.equals(slow.batch.frames)
    assert np.array_equal(fast.batch.channel, slow.batch.channel)
    assert parser.channels == names.names
    assert fast.faults == slow.faults
    assert (fast.unreadable, fast.others) == (slow.unreadable, slow.others)


@given(lines=st.lists(_gvret, max_size=30))
def test_gvret_rows_are_read_the_same_alone_and_together(lines: list[bytes]) -> None:
    together = GvretParser().parse(b"\n".join(lines))
    alone = [GvretParser().parse(line + b"\n") for line in lines]
    assert together.batch.frames.equals(concatenate([block.batch.frames for block in alone]))
    assert together.unreadable == sum(block.unreadable for block in alone)


@given(batch=frame_batches(min_size=0), channel=st.sampled_from(["can0", "vcan12", "a-long-interface"]))
def test_what_is_formatted_is_read_back(batch: FrameBatch, channel: str) -> None:
    # An error frame's identifier field holds its class: the extended bit says nothing there.
    is_error = (batch.flags & FrameFlag.ERROR) != 0
    plain = np.where(is_error, batch.flags & ~np.uint8(FrameFlag.EXTENDED), batch.flags)
    parser = CandumpParser()
    text = format_candump(batch, channel)
    parsed = parser.parse(text)
    assert parsed.unreadable == 0
    assert parsed.batch.frames.equals(replace(batch, flags=plain))
    assert parser.channels == ([channel] if len(batch) else [])
    assert format_candump(parsed.batch.frames, channel) == text
