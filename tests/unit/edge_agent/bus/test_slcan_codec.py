"""slcan in examples: the dialects, replies, strictness, an adapter's clock, what its flags mean."""

from __future__ import annotations

import numpy as np
import pytest

from can_stream.frames.batches import FrameFlag
from edge_agent.bus.slcan_codec import Parsed, SlcanParser
from edge_agent.bus.slcan_flags import LOSSES, AdapterFlag, trouble
from edge_agent.bus.slcan_lines import Reply, ReplyKind

NOW_NS = 1_766_417_462_000_000_000
FD, BRS, EXTENDED, REMOTE = FrameFlag.FD, FrameFlag.BRS, FrameFlag.EXTENDED, FrameFlag.REMOTE


def parse(content: bytes) -> Parsed:
    return SlcanParser().parse(content, NOW_NS)


@pytest.mark.parametrize(
    ("line", "arbitration_id", "flags", "length", "data"),
    [
        (b"t7E83010203", 0x7E8, 0, 3, "010203"),
        (b"t7e81ab", 0x7E8, 0, 1, "ab"),
        (b"T18DAF11081122334455667788", 0x18DAF110, EXTENDED, 8, "1122334455667788"),
        (b"t0000", 0, 0, 0, ""),
        (b"r1004", 0x100, REMOTE, 4, ""),
        (b"R1FFFFFFF8", 0x1FFFFFFF, EXTENDED | REMOTE, 8, ""),
        (b"d1239" + b"5A" * 12, 0x123, FD, 12, "5a" * 12),
        (b"D000001230", 0x123, FD | EXTENDED, 0, ""),
        (b"b123F" + b"A5" * 64, 0x123, FD | BRS, 64, "a5" * 64),
        (b"B12345678F" + b"5a" * 64, 0x12345678, FD | BRS | EXTENDED, 64, "5a" * 64),
    ],
)
def test_each_kind_of_frame(line: bytes, arbitration_id: int, flags: int, length: int, data: str) -> None:
    frames = parse(line + b"\r").frames
    assert frames.arbitration_id.tolist() == [arbitration_id]
    assert (frames.flags.tolist(), frames.length.tolist()) == ([flags], [length])
    assert frames.data[0].tobytes().hex().startswith(data)
    assert not frames.data[0, len(data) // 2 :].any()
    assert frames.timestamp_ns.tolist() == [NOW_NS]


@pytest.mark.parametrize(
    "line",
    [
        b"t", b"t12", b"t123", b"t1232AA", b"t1231A", b"t8000", b"t1239112233445566778899",
        b"T200000000", b"T12345670A", b"r1009", b"d1239" + b"11" * 11, b"b123F" + b"11" * 63,
        b"tGGG0", b"t123G", b"t1231GG", b"t123 ", b"t1232 AAB", b"t12 AA", b"\xff",
        b"T1230", b"d123g" + b"11" * 64, b"zz", b"F1", b"F123", b"FGG", b"V", b"N", b"V10\xff", b"?", b"A",
    ],
)  # fmt: skip
def test_what_is_malformed_costs_only_itself(line: bytes) -> None:
    parsed = parse(b"t0011FF\r" + line + b"\rt0021FF\r")
    assert parsed.frames.arbitration_id.tolist() == [1, 2]
    assert (parsed.malformed, parsed.replies) == (1, ())


def test_replies_among_frames() -> None:
    parsed = parse(b"\rt0010\rz\rZ\r\aF2c\r\nV1013\rNA12F\rt0020\r")
    assert parsed.replies == (
        Reply(ReplyKind.DONE),
        Reply(ReplyKind.SENT),
        Reply(ReplyKind.SENT),
        Reply(ReplyKind.REFUSED),
        Reply(ReplyKind.STATUS, "2c"),
        Reply(ReplyKind.VERSION, "1013"),
        Reply(ReplyKind.SERIAL_NUMBER, "A12F"),
    )
    assert (parsed.frames.arbitration_id.tolist(), parsed.malformed) == ([1, 2], 0)


def stamped(*stamps_ms: int, period_ms: int = 60_000) -> bytes:
    return b"".join(b"t0010%04X\r" % (stamp % period_ms) for stamp in stamps_ms)


def test_an_adapter_that_counts_in_16_bits_keeps_time_over_every_turn() -> None:
    parser, times_ns = SlcanParser(), list[int]()
    for at_ms in range(0, 300_000, 20):
        line = stamped(at_ms, period_ms=1 << 16)
        times_ns += parser.parse(line, NOW_NS + at_ms * 1_000_000).frames.timestamp_ns.tolist()
    assert (np.diff(times_ns) == 20_000_000).all()


def test_a_lonely_count_of_eight_digits_is_no_time_and_costs_no_frame() -> None:
    parsed = parse(b"t1232AABB00012345\r")
    assert (parsed.frames.arbitration_id.tolist(), parsed.malformed) == ([0x123], 0)
    assert parsed.frames.timestamp_ns.tolist() == [NOW_NS]


def test_it_is_known_whether_timestamps_come() -> None:
    parser = SlcanParser()
    known = [parser.stamps.is_adapters]
    for line in (b"F00\r", b"t0010\r", b"t00100001\r", b"t0010\r"):
        parser.parse(line, NOW_NS)
        known.append(parser.stamps.is_adapters)
    assert known == [None, None, False, True, False]


@pytest.mark.parametrize(
    ("line", "arbitration_id", "data", "remark"),
    [
        (b"t1231AABB", 0x123, "aa", b""),
        (b"t1230\xff", 0x123, "", b"\xff"),
        (b"t1231AA;5C", 0x123, "aa", b";5C"),
        (b"t1231AA12345678901", 0x123, "aa", b"12345678901"),
        (b"t 121AA", 0x012, "aa", b""),
        (b"T     12F1AA", 0x12F, "aa", b""),
        (b"t 123 2 AA BB 1F40", 0x123, "aabb", b""),
        (b"t1232AABB1F40L", 0x123, "aabb", b"L"),
        (b"\x03t1230", 0x123, "", b""),
        (b"\x06\x06 t1230", 0x123, "", b""),
        (b"zt1231AA", 0x123, "aa", b""),
        (b"x12ABCDEF2AA55", 0x12ABCDEF, "aa55", b""),
        (b"r1002AABB", 0x100, "", b""),
    ],
)
def test_a_frame_is_read_whatever_is_about_it(
    line: bytes, arbitration_id: int, data: str, remark: bytes
) -> None:
    parser = SlcanParser()
    parsed = parser.parse(b"t0011FF\r" + 3 * (line + b"\r") + b"t0021FF\r", NOW_NS)
    assert parsed.frames.arbitration_id.tolist() == [1, *[arbitration_id] * 3, 2]
    assert parsed.frames.data[1].tobytes().hex().startswith(data)
    assert not parsed.frames.data[1, len(data) // 2 :].any()
    assert (parsed.malformed, parsed.replies, parser.remark) == (0, (), remark)


def test_what_stands_behind_frames_is_said_as_the_first_had_it_and_not_of_one_alone() -> None:
    parser, said = SlcanParser(), []
    for number in range(5):
        parser.parse(b"t0010;%02X\r" % number, NOW_NS)
        said.append(parser.remark)
    assert said == [b"", b"", b";00", b";00", b";00"]


def test_a_frame_whose_line_end_is_lost_is_counted() -> None:
    parsed = parse(b"t1231AA?t4561BB\rt0010\r")
    assert parsed.frames.arbitration_id.tolist() == [0x123, 1]
    assert parsed.unread == (b"t1231AA?t4561BB",)


def test_the_adapters_clock_gives_the_distances_between_frames() -> None:
    frames = SlcanParser().parse(stamped(59_990, 59_999, 60_001, 60_100), NOW_NS).frames
    assert (np.diff(frames.timestamp_ns) // 1_000_000).tolist() == [9, 2, 99]
    assert frames.timestamp_ns[-1] == NOW_NS


@pytest.mark.parametrize("seconds", [1, 29, 31, 45, 59, 60, 61, 421, 3_600])
def test_a_silent_bus_costs_no_time(seconds: int) -> None:
    parser, silence_ns = SlcanParser(), seconds * 1_000_000_000
    first = parser.parse(stamped(30_000), NOW_NS).frames
    then = parser.parse(stamped(30_000 + seconds * 1_000), NOW_NS + silence_ns).frames
    assert then.timestamp_ns[0] - first.timestamp_ns[0] == silence_ns


def test_frames_that_are_read_late_keep_their_time_also_after_minutes() -> None:
    parser, late_ns = SlcanParser(), 300_000_000
    parser.parse(stamped(0), NOW_NS)
    for second in range(1, 100):
        now_ns = NOW_NS + second * 1_000_000_000 + late_ns
        (stamp_ns,) = parser.parse(stamped(second * 1_000), now_ns).frames.timestamp_ns.tolist()
        assert 0 <= stamp_ns - (now_ns - late_ns) < late_ns / 10  # it follows the drift of clocks


def test_the_longest_frame_in_two_pieces() -> None:
    line, parser = b"B12345678F" + b"5a" * 64 + b"EA5F", SlcanParser()
    assert not len(parser.parse(line, NOW_NS).frames)
    assert len(parser.parse(b"\r", NOW_NS).frames) == 1


def test_a_frame_with_and_one_without_a_timestamp_where_it_is_not_known() -> None:
    frames = parse(stamped(10, 30) + b"t0020\r").frames
    assert (frames.timestamp_ns - NOW_NS).tolist() == [-20_000_000, 0, 0]


def test_flags_are_told_with_what_to_do_the_worst_first() -> None:
    assert trouble(AdapterFlag(0)) is None
    assert trouble(AdapterFlag.ARBITRATION_LOST) is None
    fault, text = trouble(AdapterFlag.ERROR_PASSIVE | AdapterFlag.ERROR_WARNING) or ("", "")
    assert (fault, "termination" in text) == ("error_passive", True)
    for lost in LOSSES:
        fault, text = trouble(lost | AdapterFlag.ERROR_PASSIVE) or ("", "")
        assert (fault, "lost frames" in text) == ("overrun", True)
