"""slcan: every frame is read back, any bytes in any pieces give the same, noise costs what it hits."""

from __future__ import annotations

import re
from itertools import pairwise
from queue import SimpleQueue

import can
from can.interfaces.slcan import slcanBus
from hypothesis import assume, example, given
from hypothesis import strategies as st

from can_stream.frames.batches import FD_LENGTHS, FrameBatch, FrameFlag, batch_of, concatenate
from edge_agent.bus.slcan_codec import MAX_LINE_BYTES, Parsed, SlcanParser
from edge_agent.bus.slcan_lines import Reply
from edge_agent.bus.slcan_words import form_text
from tests.helpers.strategies import Row

NOW_NS = 1_766_417_462_000_000_123
LETTERS = {
    FrameFlag(0): "tT",
    FrameFlag.REMOTE: "rR",
    FrameFlag.FD: "dD",
    FrameFlag.FD | FrameFlag.BRS: "bB",
}


@st.composite
def rows(draw: st.DrawFn) -> Row:
    kind, extended = draw(st.sampled_from(list(LETTERS))), draw(st.booleans())
    arbitration_id = draw(st.integers(0, 0x1FFFFFFF if extended else 0x7FF))
    length = draw(st.sampled_from(FD_LENGTHS) if kind & FrameFlag.FD else st.integers(0, 8))
    size = 0 if kind & FrameFlag.REMOTE else length
    flags = kind | (FrameFlag.EXTENDED if extended else 0)
    return NOW_NS, arbitration_id, int(flags), length, draw(st.binary(min_size=size, max_size=size))


def line_of(row: Row, upper: bool = True) -> bytes:
    """A frame as the manuals write it; `upper` is about its digits."""
    _, arbitration_id, flags, length, data = row
    extended = flags & FrameFlag.EXTENDED
    letter = LETTERS[FrameFlag(flags & ~FrameFlag.EXTENDED)][1 if extended else 0]
    code = FD_LENGTHS.index(length)
    digits = f"{arbitration_id:0{8 if extended else 3}X}{code:X}{data.hex()}"
    return (letter + (digits.upper() if upper else digits.lower())).encode()


line_ends = st.sampled_from([b"\r", b"\n", b"\r\n"])
# What looks nearly like something, and what looks like nothing.
fragments = (
    rows().map(line_of)
    | st.sampled_from(
        [b"\r", b"\n", b"\a", b"\r\n", b"\0", b"z", b"F2C", b"V1013", b"NA12F", b"t12", b"0000"]
    )
    | st.binary(max_size=8)
    | st.integers(1, 400).map(lambda count: b"7" * count)
)
noises = st.lists(fragments, max_size=12).map(b"".join)
cuts = st.lists(st.integers(0, 1_000), max_size=8)


def parse(content: bytes) -> Parsed:
    return SlcanParser().parse(content, NOW_NS)


def in_pieces(content: bytes, at: list[int]) -> list[Parsed]:
    parser = SlcanParser()
    edges = [0, *sorted(min(cut, len(content)) for cut in at), len(content)]
    return [parser.parse(content[begin:end], NOW_NS) for begin, end in pairwise(edges)]


def without_times(frames: FrameBatch) -> FrameBatch:
    return FrameBatch(
        frames.timestamp_ns * 0, frames.arbitration_id, frames.flags, frames.length, frames.data
    )


@given(st.lists(rows(), max_size=20), line_ends, st.booleans(), cuts)
def test_every_frame_is_read_back(frames: list[Row], line_end: bytes, upper: bool, at: list[int]) -> None:
    pieces = in_pieces(b"".join(line_of(row, upper) + line_end for row in frames), at)
    assert concatenate([piece.frames for piece in pieces]).equals(batch_of(frames))
    assert all((piece.replies, piece.malformed) == ((), 0) for piece in pieces)


@given(rows(), st.data(), st.sampled_from(b"gG/:@`\0 +-_\t\v\f\x1c\xa0\xff"))
def test_a_frame_with_a_character_that_is_no_digit_is_malformed(
    frame: Row, data: st.DataObject, character: int
) -> None:
    line = bytearray(line_of(frame))
    at = data.draw(st.integers(1, len(line) - 1))
    # A blank there is one of an identifier that is filled up with blanks.
    assume(chr(character) != " " or at not in (1, 3 if line[:1].islower() else 8))
    line[at] = character
    parsed = parse(bytes(line) + b"\r")
    assert (len(parsed.frames), parsed.malformed) == (0, 1)


@given(rows(), st.data(), st.sampled_from([b"+", b"-", b"_", b"\t", b"\v", b"\f", b"\x1c"]))
@example((NOW_NS, 0x12, 0, 0, b""), None, b"+")
def test_signs_underscores_and_white_space_that_int_reads_make_a_frame_malformed(
    frame: Row, data: st.DataObject | None, character: bytes
) -> None:
    line = line_of(frame)
    at = 1 if data is None else data.draw(st.integers(1, len(line) - 1))
    parsed = parse(line[:at] + character + line[at:] + b"\r")
    assert (len(parsed.frames), parsed.malformed) == (0, 1)


@given(noises, cuts)
@example(b"t0010\r\nt0020\r\n", [6, 7])
@example(b"\a\r\n\r", [1, 2, 3])
@example(b"7" * 500 + b"\rt0010\r", [100, 200, 300])
def test_any_bytes_in_any_pieces_give_the_same(content: bytes, at: list[int]) -> None:
    whole, pieces = parse(content), in_pieces(content, at)
    frames = concatenate([piece.frames for piece in pieces])
    assert without_times(frames).equals(without_times(whole.frames))
    assert tuple(reply for piece in pieces for reply in piece.replies) == whole.replies
    assert sum(piece.malformed for piece in pieces) == whole.malformed


@given(noises)
def test_every_line_is_a_frame_a_reply_or_malformed(content: bytes) -> None:
    parsed = parse(content)
    lines = re.findall(rb"[^\r\n\a]+[\r\n\a]|\r|\a", content)
    # The LF of a CRLF is no line; LF in a line of its own neither. One with two frames is both.
    said = len(parsed.frames) + len(parsed.replies) + parsed.malformed
    assert len(lines) <= said <= len(lines) + len(parsed.frames)
    assert all(isinstance(reply, Reply) for reply in parsed.replies)


@given(noises)
def test_whatever_comes_out_is_a_possible_frame(content: bytes) -> None:
    frames = parse(content).frames
    for row in range(len(frames)):
        flags, length = FrameFlag(int(frames.flags[row])), int(frames.length[row])
        assert frames.arbitration_id[row] <= (0x1FFFFFFF if flags & FrameFlag.EXTENDED else 0x7FF)
        assert length in FD_LENGTHS if flags & FrameFlag.FD else length <= 8
        assert not frames.data[row, 0 if flags & FrameFlag.REMOTE else length :].any()


@given(st.lists(rows(), min_size=1, max_size=8), st.data(), noises)
def test_noise_costs_at_most_the_frame_it_hits(frames: list[Row], data: st.DataObject, noise: bytes) -> None:
    hit = data.draw(st.integers(0, len(frames) - 1))
    lines = [line_of(row) + b"\r" for row in frames]
    begin = data.draw(st.integers(0, len(lines[hit]) - 1))
    end = data.draw(st.integers(begin, len(lines[hit]) - 1))
    lines[hit] = lines[hit][:begin] + noise + lines[hit][end:]
    found = parse(b"".join(lines)).frames
    before, after = batch_of(frames[:hit]), batch_of(frames[hit + 1 :])
    assert found[: len(before)].equals(before)
    assert found[len(found) - len(after) :].equals(after)


stamps = st.just(b"") | st.binary(min_size=2, max_size=2) | st.binary(min_size=4, max_size=4)


@given(st.lists(st.tuples(rows(), stamps), min_size=1, max_size=8), line_ends, cuts)
def test_frames_are_read_with_whatever_timestamp_each_of_them_has(
    frames: list[tuple[Row, bytes]], line_end: bytes, at: list[int]
) -> None:
    content = b"".join(line_of(row) + stamp.hex().upper().encode() + line_end for row, stamp in frames)
    pieces = in_pieces(content, at)
    found = concatenate([piece.frames for piece in pieces])
    assert without_times(found).equals(without_times(batch_of(row for row, _ in frames)))
    assert not any(piece.malformed for piece in pieces)


@given(st.integers(MAX_LINE_BYTES, 2_000), cuts)
def test_a_line_without_end_is_one_malformed_line_once_it_ends(length: int, at: list[int]) -> None:
    content = b"t" + b"0" * length + b"\rt0011FF\r"
    pieces = in_pieces(content, at)
    assert sum(piece.malformed for piece in pieces) == 1
    assert concatenate([piece.frames for piece in pieces]).arbitration_id.tolist() == [1]


class Port:
    """A serial port with these bytes to be read, for python-can."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    @property
    def in_waiting(self) -> int:
        return len(self.content)

    def read(self, count: int) -> bytes:
        piece, self.content = self.content[:count], self.content[count:]
        return piece


def as_python_can_reads(line: bytes) -> can.Message | None:
    bus = object.__new__(slcanBus)
    bus._queue, bus._buffer, bus.serialPortOrig = SimpleQueue(), bytearray(), Port(line + b"\r")
    try:
        return bus._recv_internal(0)[0]
    except (ValueError, IndexError, can.CanError):
        return None


def is_possible(message: can.Message) -> bool:
    """What python-can also makes of nonsense: a frame with less data than its length, or a negative id."""
    limit = 0x1FFFFFFF if message.is_extended_id else 0x7FF
    has_all = message.is_remote_frame or len(message.data) == message.dlc
    return 0 <= message.arbitration_id <= limit and has_all and (message.is_fd or message.dlc <= 8)


odd_ends = st.sampled_from(
    [b"", b"L", b" ", b"\0", b";5C", b"\xc3\xa9", b"0", b"EA5F", b"EA5FL", b"00ABCDEF", b" 1"]
)


@given(
    st.one_of(
        st.tuples(rows().map(line_of), odd_ends).map(b"".join),
        st.tuples(rows().map(lambda row: line_of(row, upper=False)), st.binary(max_size=12)).map(b"".join),
        st.builds(
            lambda row: b"x" + line_of(row)[1:], rows().filter(lambda row: row[2] == FrameFlag.EXTENDED)
        ),
        st.from_regex(rb"[tTrRdDbBx][0-9A-Fa-f ]{4,40}", fullmatch=True),
    ).filter(lambda line: not set(line) & set(b"\r\n\a"))
)
@example(b"t  120")
@example(b"t12 1AA")
@example(b"t0x1111")
@example(b"T     12F2AABB1234")
@example(b"r1234AABBCCDD")
def test_what_python_can_reads_is_read_as_the_same(line: bytes) -> None:
    message = as_python_can_reads(line)
    assume(message is not None and is_possible(message))
    assert message is not None
    parsed = parse(line + b"\r")
    assert parsed.frames.arbitration_id.tolist() == [message.arbitration_id]
    flags = FrameFlag(int(parsed.frames.flags[0]))
    assert bool(flags & FrameFlag.EXTENDED) == message.is_extended_id
    assert bool(flags & FrameFlag.REMOTE) == message.is_remote_frame
    assert bool(flags & FrameFlag.FD) == message.is_fd
    assert bool(flags & FrameFlag.BRS) == message.bitrate_switch
    assert parsed.frames.length.tolist() == [message.dlc]
    assert parsed.frames.data[0].tobytes().rstrip(b"\0") == bytes(message.data).rstrip(b"\0")


moments = st.integers(0, 1 << 62) | st.integers(NOW_NS, NOW_NS + 10**12)
numbered = st.tuples(moments, st.lists(st.binary(max_size=5).map(bytes.hex), max_size=5))


@given(st.lists(numbered, max_size=12))
@example([(534_476_237_624, ["15"]), (0, ["00"]), (534_476_237_624, ["00"])])
def test_whatever_stands_behind_frames_their_time_is_not_in_the_future(
    pieces: list[tuple[int, list[str]]],
) -> None:
    parser = SlcanParser()
    for now_ns, tails in pieces:
        frames = parser.parse(b"".join(b"t0010%s\r" % tail.encode() for tail in tails), now_ns).frames
        assert len(frames) == len(tails)
        assert (frames.timestamp_ns <= now_ns).all()
        assert form_text(parser.stamps, parser.remark, asked=True).isprintable()


KERNEL = re.compile(rb"([tr])(.{3})([0-8])|([TR])(.{8})([0-8])", re.DOTALL)
KERNEL_ID = re.compile(rb"(?:0[xX])?([0-9A-Fa-f]+)")


def as_the_kernel_reads(line: bytes) -> tuple[int, int, bytes] | None:
    """(id, length, data) as drivers/net/can/slcan has it: whatever stands behind, in at most 30 characters.

    It also takes a plus before the identifier and standard identifiers of twelve bits, which are no frames.
    """
    head = KERNEL.match(line)
    if head is None or not 4 < len(line) <= 30:
        return None
    letter, digits, length = (head[1] or head[4]), (head[2] or head[5]), int(head[3] or head[6])
    number = KERNEL_ID.fullmatch(digits)
    data = b"" if letter in b"rR" else line[head.end() : head.end() + 2 * length]
    if number is None or not re.fullmatch(rb"(?:[0-9A-Fa-f]{2})*", data):
        return None
    if letter in b"tT" and len(data) < 2 * length:
        return None
    arbitration_id = int(number[1], 16)
    limit = 0x7FF if letter in b"tr" else 0x1FFFFFFF
    return (arbitration_id, length, bytes.fromhex(data.decode())) if arbitration_id <= limit else None


@given(
    st.from_regex(rb"[trTR][0-9A-Fa-fxX]{3,8}[0-9][0-9A-Fa-f]{0,16}.{0,8}", fullmatch=True)
    | st.tuples(rows().map(line_of), st.binary(max_size=8)).map(b"".join)
)
@example(b"t0x1100")
@example(b"T0x0000121AAL")
def test_what_the_kernel_reads_is_read_as_the_same(line: bytes) -> None:
    expected = None if set(line) & set(b"\r\n\a") else as_the_kernel_reads(line)
    assume(expected is not None)
    assert expected is not None
    frames = parse(line + b"\r").frames
    assert (frames.arbitration_id.tolist(), frames.length.tolist()) == ([expected[0]], [expected[1]])
    assert frames.data[0].tobytes().startswith(expected[2])
