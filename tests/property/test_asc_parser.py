"""Vector ASC: columns read what lines read, python-can's logs come back, damage costs only what it hits."""

from __future__ import annotations

import io
import random
import time
from typing import Any

import can
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from can_stream.frames.batches import FD_LENGTHS, FrameFlag, batch_of, concatenate
from can_stream.logs.formats.asc import AscParser
from can_stream.logs.formats.asc_lines import AscReader
from can_stream.logs.formats.asc_text.columns import regular_lines
from can_stream.logs.log_blocks import ChannelNames, parse_lines, read_blocks, split_lines
from can_stream.text.text_columns import TextBlock
from tests.helpers.strategies import Row

_DATE = b"Tue Nov 14 10:13:20 pm 2023"


def _pick(*choices: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from(choices)


def _joined(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


_stamp = _joined(
    _pick(b"", b" ", b"   ", b"\t", b"-"),
    _pick(b"0", b"1", b"12", b"99999999", b"123456789", b"99999999999999999999"),
    _pick(b".", b".", b",", b""),
    _pick(b"000000", b"250000", b"1", b"123456789", b"1234567890", b"x"),
    _pick(b" ", b" ", b"  ", b"\t", b"\x0b", b"\0"),
)
# Names that look like numbers, and numbers that look like names.
_NAMES = (b"BE", b"EEC1", b"FACEx", b"ABCDEFX", b"DEADBEEF", b"CF00400x", b"0BEx", b"E")
_identifier = _pick(
    b"123", b"7FF", b"800", b"18DAF110x", b"1FFFFFFFX", b"2FFFFFFFx", b"F4", b"Name", b"x", b"0x1", *_NAMES
)
_data = st.lists(_pick(b"00", b"ff", b"A5", b"7", b"GG", b"123"), max_size=10).map(b" ".join)
_gap = _pick(b" ", b" ", b"             ", b"\t")
_ADDED = (b"  Length = 244016 BitCount = 125 ID = 384", b"  Length = 5 ID  =\t291x", b"  Length = 5 ID = x")
_tail = _pick(b"", b"", b" ", *_ADDED, b" 11", b"    Length = 0", b" TE", b"\r")
_classic = _joined(
    _stamp,
    _pick(b"1 ", b"1  ", b"2 ", b"0 ", b"12 ", b"300 ", b"A ", b"CAN "),
    _joined(_identifier, _gap),
    _pick(b"Rx ", b"Tx   ", b"rx ", b"TxRq ", b"Qx "),
    _pick(b"d ", b"D ", b"r ", b"q "),
    _pick(b"0 ", b"2 ", b"8 ", b"8  ", b"9 ", b"F ", b"12 ", b"", b"G "),
    _joined(_data, _tail),
)
_classic_whole = st.integers(0, 8).flatmap(
    lambda size: _joined(
        _pick(b"   0.00", b"  12.34", b"  12,34", b" 10001."),
        _pick(b"1000", b"1001", b"99x9"),
        _pick(b" 1  ", b" 2  ", b" 12 ", b" x  "),
        _pick(
            b"123      ", b"18DAF110x", b"F4       ", b"800      ", b"1 3      ", b"12 x     ", b"        x"
        ),
        _pick(b"       Rx   d ", b"       Tx   d ", b"       Qx   d ", b"  x    Rx   d "),
        st.just(b"%d " % size),
        st.just(b" ".join([b"a5"] * size)),
        _pick(b"", b" ", b"  Length = 1", b" 11", b"x", b"\x01"),
    )
)
_fd_tail = _pick(
    b" 102203 133 303000 e0006659", b" 1 2 200000", b" 0 0 200010", b"", b" 0 0 0", b" // n", b" 0 0 zz"
)
_fd = st.tuples(st.sampled_from(range(16)), st.sampled_from([*FD_LENGTHS, 9, 99])).flatmap(
    lambda sizes: _joined(
        _stamp,
        _pick(b"CANFD   1 ", b"CANFD  12 ", b"canfd 1 ", b"CANFD "),
        _pick(b"Rx ", b"Tx  ", b"TxRq "),
        _joined(_identifier, _gap),
        _pick(b"", b"Eng_Msg     ", b"0 ", b"1 "),
        _pick(b"1 0 ", b"0 1 ", b"0 0 ", b"2 0 "),
        _pick(b"%x " % sizes[0], b"%x " % FD_LENGTHS.index(min(FD_LENGTHS, key=lambda n: abs(n - sizes[1])))),
        _pick(b"%d " % sizes[1], b"%2d " % sizes[1]),
        _pick(b" ".join([b"c3"] * sizes[1]), b" ".join([b"1"] * sizes[1])),
        _fd_tail,
    )
)
_events = _pick(
    b"   0.000000 Start of measurement",
    b"0.1 1 ErrorFrame ECC: 10100010",
    b"0.5 CANFD 1 Tx ErrorFrame Not Acknowledge error",
    b"0.2 CAN 1 Status:chip status error active",
    b"0.3 1  Statistic: D 1 R 0 XD 0",
    b"0.4 SV: 1 0 1 ::a = 5",
    b"0.4 Door := 5",
    b"5.0",
    b"// comment",
    b"End TriggerBlock",
    b"Begin Triggerblock " + _DATE,
    b"Begin Triggerblock Tue Nov 99 2023",
    b"date " + _DATE,
    b"base hex  timestamps absolute",
    b"base hex  timestamps relative",
    b"base dec",
    b"date Tue Nov 14 02:46:40 2023",
    b"10000.5 1 ErrorFrame",
)
_lines = st.one_of(_classic, _classic, _classic_whole, _fd, _events, st.binary(max_size=60))
_even = st.lists(st.one_of(_classic_whole, _classic_whole, _classic_whole, _fd, _events), max_size=40)
_logs = st.one_of(st.lists(_lines, max_size=25), _even).map(b"\n".join)
_whole = b"   0.001000 1  123             Rx   d 2 A5 A5"

_SECONDS = (b"12345678", b"12345678", b"92345678", b"       1", b"  1    1", b"       1")


def _fd_line(length: int) -> bytes:
    data = b" ".join([b"c3"] * length)
    return b"  1.5 CANFD 1 Rx 123 Name 1 0 %x %d %s 1 2 303000" % (FD_LENGTHS.index(length), length, data)


@given(log=_logs, block_bytes=st.integers(1, 300))
@example(log=b"\n".join([_whole] * 40 + [_whole + b" 11", _whole[:-1]]), block_bytes=200)
@example(log=b"\n".join(map(_fd_line, [*FD_LENGTHS, 64, 0])), block_bytes=300)
@example(log=b"\n".join([b"       " + second + _whole[4:] for second in _SECONDS]), block_bytes=300)
@example(log=b"base dec\n" + _whole.replace(b"A5", b"99") + b"\nbase hex\n" + _whole, block_bytes=30)
def test_columns_read_what_lines_read_wherever_blocks_end(log: bytes, block_bytes: int) -> None:
    names, reader = ChannelNames(), AscReader()
    slow = parse_lines(split_lines(log), names, reader.read_line)
    whole, small = AscParser(), AscParser()
    fast = whole.parse(log)
    assert fast.batch.frames.equals(slow.batch.frames)
    assert np.array_equal(fast.batch.channel, slow.batch.channel)
    assert (fast.faults, fast.unreadable, fast.others) == (slow.faults, slow.unreadable, slow.others)
    assert len(fast.batch.frames) + fast.unreadable + sum(fast.others.values()) == fast.items
    blocks = [small.parse(block) for block in read_blocks(io.BytesIO(log).read, block_bytes)]
    assert concatenate([block.batch.frames for block in blocks]).equals(slow.batch.frames)
    assert whole.channels == small.channels == names.names
    assert sum(block.items for block in blocks) == fast.items
    assert sum(block.unreadable for block in blocks) == fast.unreadable


def _laid_out(number: int, kind: int) -> bytes:
    """A line in columns: classic in hexadecimal or decimal, or CANFD with a name or without, the last of
    them with an identifier that may be longer than its field."""
    dice = random.Random(number)
    extended = dice.randrange(1 << 29)
    numbers = (b"%X" % dice.randrange(2048), b"%dx" % extended, b"%08Xx" % extended, b"%d" % number)
    name = dice.choice((*numbers, dice.choice(_NAMES)))
    stamp = b"%11.6f" % dice.choice((number / 1000, number * 10.5))
    if kind < 3:
        size = dice.randrange(9)
        form = (b"%02X", b"%d", b"%3d")[kind]
        data = b" ".join(form % byte for byte in dice.randbytes(size))
        tail = dice.choice((b"", b" ", b"  Length = 1 BitCount = 5", b"  L", b" 11", *_ADDED))
        return b"%s 1  %-15s Rx   d %d %s%s" % (stamp, name, size, data, tail)
    code = dice.randrange(16)
    size = dice.choice((FD_LENGTHS[code], FD_LENGTHS[code], min(code, 8), 0))
    label = dice.choice((b"", b"Eng_Msg", b"1", b"a" * 33)) if kind == 4 else b""
    name = name.rjust(9 if kind < 5 else 8)
    said = dice.choice((0x1000, 0x3000, 0x7000, 0, 0x10))
    columns = b"%d %d %x %2d %s" % (
        *divmod(dice.randrange(4), 2),
        code,
        size,
        dice.randbytes(size).hex(" ").encode(),
    )
    return b"%s CANFD   1 Rx   %s %-33s%s %8d %4d %8X %8d" % (
        stamp,
        name,
        label,
        columns,
        number,
        number % 9,
        said,
        5,
    )


@given(
    base=_pick(b"", b"base dec\n"),
    kinds=st.lists(st.integers(0, 5), min_size=1, max_size=2),
    numbers=st.lists(st.integers(0, 1 << 20), min_size=24, max_size=60),
    changes=st.lists(
        st.tuples(
            st.integers(0, 59), st.integers(0, 320), st.sampled_from(b" 019afgxLX.,\t\x0b\0\x1c\x7f\xa0\r\n")
        )
    ),
)
def test_lines_in_columns_are_read_as_single_ones_are(
    base: bytes, kinds: list[int], numbers: list[int], changes: list[tuple[int, int, int]]
) -> None:
    lines = [bytearray(_laid_out(number, kinds[number % len(kinds)])) for number in numbers]
    for index, place, character in changes:
        line = lines[index % len(lines)]
        line[place % len(line)] = character
    log = base + b"\n".join(lines)
    names, reader, parser = ChannelNames(), AscReader(), AscParser()
    slow, fast = parse_lines(split_lines(log), names, reader.read_line), parser.parse(log)
    assert fast.batch.frames.equals(slow.batch.frames)
    assert (fast.faults, fast.unreadable, fast.others) == (slow.faults, slow.unreadable, slow.others)
    again = parse_lines(split_lines(b"\n".join(lines)), names, reader.read_line)
    assert parser.parse(b"\n".join(lines)).batch.frames.equals(again.batch.frames)


def test_what_canoe_writes_is_regular() -> None:
    plain = [_whole, _whole.replace(b"123      ", b"18DAF110x"), b"  12.345678 1  7FF             Tx   d 0 "]
    assert regular_lines(TextBlock(b"\n".join(plain * 10))).ok.all()
    unpadded = [
        b"1.5 1 123 Rx d 1 A5",
        b"12.5 2 18DAF110x Tx d 8 01 02 03 04 05 06 07 08  Length = 1 BitCount = 5",
    ]
    assert regular_lines(TextBlock(b"\n".join(unpadded * 10))).ok.all()
    fd = regular_lines(TextBlock(b"\n".join(map(_fd_line, FD_LENGTHS * 3)) + b"\n" + b"x" * 200))
    assert fd.ok[:-1].all()
    assert fd.frames.length[:16].tolist() == list(FD_LENGTHS)


@st.composite
def _messages(draw: st.DrawFn) -> tuple[can.Message, Row]:
    """A message as python-can has it and the row that it is. Whole microseconds; the writer loses no more."""
    extended = draw(st.booleans())
    identifier = draw(st.integers(0, 0x1FFFFFFF if extended else 0x7FF))
    sent = draw(st.booleans())
    flags = (FrameFlag.EXTENDED if extended else 0) | (FrameFlag.TX if sent else 0)
    kind = draw(st.sampled_from(["data", "remote", "error", "fd"]))
    common: dict[str, Any] = {"arbitration_id": identifier, "is_extended_id": extended, "is_rx": not sent}
    if kind == "error":
        return can.Message(is_error_frame=True, **common), (0, 0, FrameFlag.ERROR, 0, b"")
    if kind == "remote":
        length = draw(st.integers(0, 8))
        row = (0, identifier, flags | FrameFlag.REMOTE, length, b"")
        return can.Message(is_remote_frame=True, dlc=length, **common), row
    lengths = FD_LENGTHS if kind == "fd" else range(9)
    data = draw(st.sampled_from(lengths).flatmap(lambda size: st.binary(min_size=size, max_size=size)))
    if kind == "data":
        return can.Message(data=data, **common), (0, identifier, flags, len(data), data)
    brs, esi = draw(st.booleans()), draw(st.booleans())
    flags |= FrameFlag.FD | (FrameFlag.BRS if brs else 0) | (FrameFlag.ESI if esi else 0)
    message = can.Message(data=data, is_fd=True, bitrate_switch=brs, error_state_indicator=esi, **common)
    return message, (0, identifier, flags, len(data), data)


@given(
    frames=st.lists(st.tuples(_messages(), st.integers(0, 10**9), st.integers(0, 20)), max_size=30),
    begin=st.integers(-4_000_000_000, 4_000_000_000),
)
def test_what_python_can_writes_is_read_back(
    frames: list[tuple[tuple[can.Message, Row], int, int]], begin: int
) -> None:
    file = io.StringIO()
    writer = can.ASCWriter(file)
    micros, rows = 0, []
    for (message, row), step, channel in frames:
        message.timestamp, message.channel = begin + micros / 1e6, channel
        writer(message)
        # A double holds the sum to a few tenths of a microsecond: what the writer had is what it wrote.
        written = round((message.timestamp - begin) * 1e6)
        rows.append((begin * 10**9 + written * 1000, *row[1:]))
        micros += step
    text = file.getvalue().encode()
    parser = AscParser()
    block = parser.parse(text)
    assert block.unreadable == 0
    assert block.batch.frames.equals(batch_of(rows))
    names = [parser.channels[number] for number in block.batch.channel.tolist()]
    assert names == [f"can{channel}" for _, _, channel in frames]


def _log_of(lines: int, dice: random.Random) -> list[bytes]:
    head = [
        b"date " + _DATE,
        b"base hex  timestamps absolute",
        b"internal events logged",
        b"// version 9.0.0",
    ]
    frames = []
    for number in range(lines):
        size = dice.randrange(9)
        data = dice.randbytes(size).hex(" ").encode()
        stamp = b"%11.6f" % (number / 1000)
        if dice.random() < 0.3:
            frames.append(
                b"%s CANFD 1 Rx %x Name 0 0 %x %d %s 1 2 1000"
                % (stamp, dice.randrange(2048), size, size, data)
            )
        else:
            frames.append(b"%s 1  %-15x Rx   d %d %s" % (stamp, dice.randrange(2048), size, data))
    return head + frames


def _mutated(log: bytes, dice: random.Random) -> tuple[bytes, int]:
    """The log with one place damaged, and that place."""
    place, size = dice.randrange(len(log)), dice.choice([1, 1, 1, 8, 200])
    noise = dice.choice([dice.randbytes(size), b"", b"\n" * size, bytes(size), log[:size], b"9" * size])
    kept = dice.choice([place + size, place, place + 1])
    return log[:place] + noise + log[kept:], place


def test_damage_is_over_soon_and_costs_nothing_before_it() -> None:
    dice = random.Random(14)
    for _ in range(300):
        lines = _log_of(40, dice)
        log = b"\n".join(lines)
        before = AscParser().parse(log)
        damaged, place = _mutated(log, dice)
        begin = time.process_time()
        after = AscParser().parse(damaged)
        assert time.process_time() - begin < 2
        frames, others = len(after.batch.frames), sum(after.others.values())
        assert frames + after.unreadable + others == after.items
        # The shortest frame is `0 1 1 Rx r`.
        assert frames * len(b"0 1 1 Rx r\n") <= len(damaged) + 1
        whole = log[:place].count(b"\n")
        kept = max(whole - 4, 0)
        assert after.batch.frames[:kept].equals(before.batch.frames[:kept]), (damaged, place)
