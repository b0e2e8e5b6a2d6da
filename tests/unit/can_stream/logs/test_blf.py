"""BLF logs: what is in them, what is damaged in them, and that both add up."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path, PurePath
from random import Random
from typing import Final

import can
import pytest

from can_stream.errors import LogError
from can_stream.frames.batches import FrameFlag
from can_stream.logs.formats.binary.blf_contents import MAX_UNPACKED_BYTES
from can_stream.logs.formats.blf import BlfLog
from can_stream.logs.log_blocks import MAX_CHANNELS, ParsedBlock
from can_stream.logs.log_reader import open_log
from tests.helpers.blf_files import (
    NO_START,
    blf_object,
    can_message,
    classic,
    container,
    fd_64,
    header,
)
from tests.helpers.mutations import with_other_bytes
from tests.helpers.read_logs import ReadLog

DATA: Final = Path(__file__).parents[3] / "data" / "logs" / "blf"
EXTENDED: Final = 0x8000_0000


def read_all(content: bytes, step: int = 1 << 17) -> ReadLog:
    return ReadLog(BlfLog(PurePath("x.blf"), io.BytesIO(content).read, step))


@pytest.mark.parametrize(
    ("name", "frames", "reason"),
    [
        ("b01_good", 50, None),
        ("b02_cut_in_second_container", 43, "the file ends within a container"),
        ("b03_cut_in_header_of_container", 25, "the file ends within an object"),
        ("b04_uncompressed_container", 50, None),
        ("b05_no_container", 50, None),
        ("b06_zero_size", 1, "an object of 0 bytes is smaller than its header"),
        ("b07_zero_size_other", 1, "an object of 0 bytes is smaller than its header"),
        ("b08_error_types", 3, None),
        ("b09_channel0", 2, None),
        ("b10_fd64", 4, None),
        ("b11_count_says_more", 25, "the file ends after 25 objects (the header counts 500 objects in all)"),
        ("b12_last_object_cut", 2, "the file ends within an object"),
        ("b13_unknown_compression", 25, "packed by method 7"),
        ("h10_size4", 1, "an object of 4 bytes is smaller than its header"),
        ("h11_outer_zero", 1, "a container of 0 bytes is smaller than its header"),
        ("h12_outer_short", 1, "a container of 16 bytes is smaller than its header"),
        ("h13_bad_zlib", 25, "a container's data are damaged"),
        ("h18_empty_after_unclosed", 25, None),
    ],
)
def test_damage_is_named_once_and_the_rest_is_read(name: str, frames: int, reason: str | None) -> None:
    reader = open_log(DATA / f"{name}.blf")
    assert sum(len(batch.frames) for batch in reader) == frames
    assert reader.unreadable == len(reader.problems) == (reason is not None)
    assert reader.is_cut == (reason is not None)
    assert reader.is_local
    assert reason is None or reason in reader.problems[0].reason
    assert reader.frames + reader.unreadable + sum(reader.others.values()) == reader.items


def test_a_place_is_a_byte_of_the_file() -> None:
    cut = open_log(DATA / "b02_cut_in_second_container.blf")
    assert sum(len(batch.frames) for batch in cut) == 43
    assert ".blf: byte 630: the file ends within a container" in str(cut.problems[0])
    assert (DATA / "b02_cut_in_second_container.blf").stat().st_size == 630


def test_each_kind_of_object() -> None:
    error_ext = struct.pack("<HHLBBBxLLHxx8s", 2, 0, 0, 0, 0, 0xF3, 0, 0x123, 0, b"\1\2\3")
    fd_error = struct.pack("<BBBBHHHBBL24xHH", 3, 8, 2, 0, 0, 0, 0, 0, 0, 0x7F, 0, 0) + b"\7\x08"
    fd = struct.pack("<HBBLLBBBxxxxx64s", 1, 1, 9, EXTENDED | 0x1FFF_FFFF, 0, 0, 7, 12, bytes(range(12)))
    objects = [
        can_message(0x7FF, b"\1\2"),
        blf_object(86, classic(EXTENDED | 5, bytes(8), flags=1, code=15) + bytes(8)),
        can_message(0x100, b"", flags=0x80, code=4),
        blf_object(100, fd),
        blf_object(101, fd_64(0x10, bytes(64), 15, flags=0x7000, extra=bytes(8))),
        blf_object(101, fd_64(0x11, b"", 8, flags=0x1010)),
        blf_object(2, struct.pack("<HH", 1, 0)),
        blf_object(73, error_ext),
        blf_object(104, fd_error),
    ]
    read = read_all(header(len(objects)) + container(b"".join(objects)))
    assert (read.unreadable, read.others, read.is_cut) == (0, {}, False)
    flag = FrameFlag
    assert read.frames.flags.tolist() == [
        *(0, flag.EXTENDED | flag.TX, flag.REMOTE, flag.EXTENDED | flag.TX | flag.FD | flag.BRS | flag.ESI),
        *(flag.FD | flag.BRS | flag.ESI, flag.REMOTE, flag.ERROR, flag.ERROR, flag.ERROR),
    ]
    assert read.frames.arbitration_id.tolist() == [0x7FF, 5, 0x100, 0x1FFF_FFFF, 0x10, 0x11, 0, 0x123, 0x7F]
    assert read.frames.length.tolist() == [2, 15, 4, 12, 64, 8, 0, 3, 2]
    assert read.frames.data_length().tolist() == [2, 8, 0, 12, 64, 0, 0, 3, 2]
    assert bytes(read.frames.data[7][:4]) == b"\1\2\3\0"
    assert bytes(read.frames.data[8][:3]) == b"\7\x08\0"
    assert read.channel == [*["can0"] * 7, "can1", "can2"]


def test_what_is_no_frame_is_counted_by_its_name() -> None:
    objects = [
        blf_object(4, bytes(32)),
        blf_object(65, bytes(17)),
        blf_object(11, bytes(20)),
        blf_object(57, bytes(20)),
        blf_object(71, bytes(33)),
        blf_object(500, bytes(5), version=7),
        can_message(1, b"", flags=2),
    ]
    read = read_all(header(7) + container(b"".join(objects)))
    assert read.others == {
        "bus statistics": 1,
        "app texts": 1,
        "LIN events": 2,
        "Ethernet frames": 1,
        "objects of type 500": 1,
        "transmit requests": 1,
    }
    assert len(read.frames) == read.unreadable == 0
    assert not read.is_cut


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (can_message(0x800, b""), "its identifier has more bits"),
        (can_message(EXTENDED | 0x2000_0000, b""), "its identifier has more bits"),
        (can_message(1, bytes(8), code=16), "its length code"),
        (blf_object(1, classic(1, bytes(8))[:-1]), "fewer data bytes"),
        (blf_object(1, b"\1"), "fewer data bytes"),
        (blf_object(100, struct.pack("<HBBLLBBBxxxxx64s", 1, 0, 9, 1, 0, 0, 1, 8, b"")), "fewer data bytes"),
        (blf_object(101, fd_64(1, bytes(12), 10)), "fewer data bytes"),
        (blf_object(1, classic(1, b""), version=3), "its header"),
        (can_message(1, b"", at=2**63), "its time stamp"),
        (blf_object(1, classic(1, b""), 2**60, unit=1), "its time stamp"),
    ],
)
def test_what_cannot_have_been_on_a_bus_is_unreadable(bad: bytes, reason: str) -> None:
    read = read_all(header(3) + container(can_message(1, b"") + bad + can_message(2, b"")))
    assert read.frames.arbitration_id.tolist() == [1, 2]
    assert read.unreadable == 1
    assert reason in read.reasons[0]


def test_times_have_two_units_and_count_from_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        objects = blf_object(1, classic(1, b""), 7) + blf_object(1, classic(1, b""), 7, unit=1, version=2)
        read = read_all(header(2) + container(objects))
        undated = read_all(header(2, NO_START) + container(objects))
        wrong = read_all(header(2, (2024, 13, 0, 1, 0, 0, 0, 0)) + container(objects))
    finally:
        monkeypatch.undo()
        time.tzset()
    start = 1_715_833_010_884_000_000  # 04:16:50.884 UTC on 2024-05-16
    assert read.frames.timestamp_ns.tolist() == [start + 7, start + 70_000]
    assert all(block.is_local for block in read.blocks)
    assert undated.frames.timestamp_ns.tolist() == [7, 70_000]
    assert not any(block.is_local for block in undated.blocks)
    assert wrong.frames.timestamp_ns.tolist() == [7, 70_000]
    assert wrong.reasons[0].startswith("the date in the header is none")


def test_a_date_that_64_bits_do_not_hold_is_none() -> None:
    """SYSTEMTIME begins in 1601, and a header that was damaged may say any year."""
    for year in (0, 1601, 1677, 1899, 2262, 30_827, 65_535):
        read = read_all(header(1, (year, 1, 1, 1, 0, 0, 0, 0)) + can_message(0x123, b"\1", 7))
        assert read.frames.timestamp_ns.tolist() == [7], year
        assert read.reasons[0].startswith("the date in the header is none")


@pytest.mark.parametrize("step", [1, 7, 100, 1 << 17])
def test_objects_lie_across_containers_and_beside_them_with_any_padding(step: int) -> None:
    frames = [
        blf_object(1, classic(number, b"\1"), number, padding=number % 8) + blf_object(65, bytes(number % 50))
        for number in range(1, 200)
    ]
    inside = b"".join(frames)
    pieces = [container(inside[at : at + 777], method=2 * (at % 2)) for at in range(0, len(inside), 777)]
    content = header(2 * 199 + 20) + frames[4] * 10 + b"".join(pieces)
    read = read_all(content, step)
    assert read.reasons == []
    assert read.frames.arbitration_id.tolist() == [5] * 10 + list(range(1, 200))
    assert sum(block.items for block in read.blocks) == 2 * 209


def test_behind_a_damaged_container_objects_are_found_again() -> None:
    inside = b"".join(can_message(number, b"LOBJ", number) for number in range(200))
    pieces = [bytearray(container(inside[at : at + 1000])) for at in range(0, len(inside), 1000)]
    pieces[4][40] ^= 0xFF
    read = read_all(header(200) + b"".join(pieces))
    assert read.unreadable == 1
    assert read.is_cut
    # 20.8 objects lie in a container; the two that reach into the damaged one are lost with it.
    numbers = read.frames.arbitration_id.tolist()
    assert numbers == [number for number in range(200) if not 4000 - 48 < 48 * number < 5000]


def test_a_container_that_unpacks_to_more_than_any_has_is_left_out() -> None:
    bomb = container(bytes(MAX_UNPACKED_BYTES + 1), level=1)
    read = read_all(header(2) + container(can_message(1, b"")) + bomb + container(can_message(2, b"")))
    assert read.frames.arbitration_id.tolist() == [1, 2]
    assert len(read.reasons) == 1
    assert "larger than any" in read.reasons[0]


def test_a_read_that_fails_gives_all_before_it() -> None:
    content = (DATA / "b02_cut_in_second_container.blf").read_bytes()
    rest = io.BytesIO(content)

    def read(count: int) -> bytes:
        if piece := rest.read(count):
            return piece
        raise EOFError("ended")

    blocks: list[ParsedBlock] = []
    with pytest.raises(EOFError):
        blocks.extend(BlfLog(PurePath("x"), read).blocks())
    assert sum(len(block.batch.frames) for block in blocks) == 43
    assert not any(block.unreadable for block in blocks)


def test_channels_are_bounded() -> None:
    objects = [can_message(1, b"", channel=number) for number in range(1, MAX_CHANNELS + 3)]
    read = read_all(header() + container(b"".join(objects)))
    assert len(read.frames) == len(read.channels) == MAX_CHANNELS
    assert read.unreadable == 2


def test_what_is_no_blf_is_refused_and_nothing_is_an_empty_log() -> None:
    with pytest.raises(LogError, match="not a BLF log"):
        BlfLog(PurePath("x"), io.BytesIO(b"Time Stamp,ID").read)
    assert read_all(b"").blocks == []
    assert read_all(b"LOGG" + bytes(10)).is_cut
    assert "144" not in read_all(header()[:4] + bytes(140)).reasons[0]


def test_many_containers_of_python_cans_writer_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.blf"
    messages = [
        can.Message(
            1.7e9 + number / 1000, number % 0x800, is_extended_id=number % 2 == 0, data=[number % 251]
        )
        for number in range(9000)
    ]
    with can.BLFWriter(path) as writer:
        for message in messages:
            writer(message)
        writer.log_event("a mark")
    read = read_all(path.read_bytes())
    assert read.frames.arbitration_id.tolist() == [message.arbitration_id for message in messages]
    assert read.others == {"markers": 1}
    assert not read.is_cut


def test_damaged_files_end_at_once_and_keep_what_lies_before() -> None:
    """Frames of containers that end before the first changed byte are all there, in their order."""
    dice = Random(14)
    frames = [can_message(number, dice.randbytes(number % 9), number) for number in range(400)]
    pieces = [
        container(b"".join(frames[at : at + 50]), method=2 * (at // 50 % 2)) for at in range(0, 400, 50)
    ]
    good = header(400) + b"".join(pieces)
    ends = [144 + len(b"".join(pieces[: number + 1])) for number in range(len(pieces))]
    for _ in range(400):
        bad = with_other_bytes(dice, good)
        first = next((at for at, (a, b) in enumerate(zip(good, bad, strict=False)) if a != b), len(bad))
        begin = time.perf_counter()
        read = read_all(bad, dice.choice((64, 4096, 1 << 17))) if bad[:4] == b"LOGG" or len(bad) < 4 else None
        assert time.perf_counter() - begin < 2
        if read is None or first < 144:
            continue
        whole = 50 * sum(end <= first for end in ends)
        assert read.frames.arbitration_id.tolist()[:whole] == list(range(whole))
        assert len(read.frames) <= 400
        assert read.unreadable or read.others or len(read.frames) == 400


@pytest.mark.parametrize("step", [1, 1 << 17])
def test_logs_joined_behind_one_another_are_each_read_with_their_date_and_count(step: int) -> None:
    one, two = can_message(1, b"\1", 10), can_message(2, b"\2", 20)
    read = read_all(
        header(1) + container(one) + bytes(3) + header(2, NO_START) + one + two + header(1) + two, step
    )
    assert (read.reasons, read.others, read.is_cut) == ([], {"headers of further logs": 2}, False)
    assert read.frames.arbitration_id.tolist() == [1, 1, 2, 2]
    dated = read.frames.timestamp_ns.tolist()
    assert (dated[1:3], dated[3] - dated[0]) == ([10, 20], 10)
    read = read_all(header(2) + one + header(1) + two, step)
    assert (len(read.frames), read.is_cut) == (2, True)
    assert read.reasons == ["the file ends after 1 objects (the header counts 2 objects in all)"]
    read = read_all(header(2) + container(one + two[:-9]) + header(1) + two, step)
    assert (len(read.frames), read.is_cut) == (2, True)
    assert read.reasons == ["the file ends within an object (the header counts 2 objects in all)"]
