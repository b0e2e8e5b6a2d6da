"""Captures: pcap and pcapng of CAN interfaces."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path, PurePath
from random import Random
from typing import Final

import pytest

from can_stream.errors import LogError
from can_stream.frames.batches import FrameFlag
from can_stream.logs.formats.pcap import PcapLog
from can_stream.logs.log_reader import open_log
from tests.helpers.mutations import with_other_bytes
from tests.helpers.read_logs import ReadLog

S: Final = 1_000_000_000
EFF, RTR, ERR = 0x8000_0000, 0x4000_0000, 0x2000_0000


def read_all(content: bytes, step: int = 1 << 17) -> ReadLog:
    return ReadLog(PcapLog(PurePath("x.pcap"), io.BytesIO(content).read, step))


def packet(identifier: int, data: bytes, flags: int = 0, *, length: int | None = None, raw: int = 0) -> bytes:
    """As the kernel gives it: padded to 8 or 64 data bytes."""
    head = struct.pack(">LBBBB", identifier, len(data) if length is None else length, flags, 0, raw)
    return head + data.ljust(64 if flags & 4 or len(data) > 8 else 8, b"\0")


def capture(
    packets: list[bytes], *, order: str = "<", magic: int = 0xA1B2C3D4, link_type: int = 227
) -> bytes:
    """Packet n is of second n and 5 parts of it."""
    records = [
        struct.pack(f"{order}4L", number, 5, len(one), len(one)) + one for number, one in enumerate(packets)
    ]
    return struct.pack(f"{order}LHHlLLL", magic, 2, 4, 0, 0, 262144, link_type) + b"".join(records)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A block of pcapng."""
    body += bytes(-len(body) % 4)
    size = len(body) + 12
    return struct.pack(f"{order}LL", kind, size) + body + struct.pack(f"{order}L", size)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(f"{order}LHHq", 0x1A2B3C4D, 1, 0, -1), order)


def description(options: bytes = b"", link_type: int = 227, order: str = "<") -> bytes:
    return block(1, struct.pack(f"{order}HHL", link_type, 0, 0) + options, order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def enhanced(ticks: int, one: bytes, interface: int = 0, options: bytes = b"", order: str = "<") -> bytes:
    head = struct.pack(f"{order}5L", interface, ticks >> 32, ticks & 0xFFFF_FFFF, len(one), len(one))
    return block(6, head + one + bytes(-len(one) % 4) + options, order)


@pytest.mark.parametrize(
    ("order", "magic", "unit"),
    [("<", 0xA1B2C3D4, 1000), (">", 0xA1B2C3D4, 1000), ("<", 0xA1B23C4D, 1), (">", 0xA1B23C4D, 1)],
)
@pytest.mark.parametrize("step", [1, 100, 1 << 17])
def test_every_kind_of_frame(order: str, magic: int, unit: int, step: int) -> None:
    fd = FrameFlag.FD
    packets = [
        packet(0x123, b"\1\2\3"),
        packet(EFF | 0x18FF_0001, bytes(range(8)), raw=12),
        packet(RTR | 0x7FF, b"", length=4),
        packet(ERR | 0x88, b"\0\4" + bytes(6)),
        packet(0x10, bytes(range(64)), 7),
        packet(0x11, b"", 4),
        packet(0x12, bytes(range(12))),
        packet(0x13, b"\1").ljust(72, b"\0"),
    ]
    read = read_all(capture(packets, order=order, magic=magic), step)
    assert (read.reasons, read.others, read.is_cut) == ([], {}, False)
    assert read.frames.timestamp_ns.tolist() == [number * S + 5 * unit for number in range(8)]
    assert read.frames.arbitration_id.tolist() == [0x123, 0x18FF_0001, 0x7FF, 0x88, 0x10, 0x11, 0x12, 0x13]
    assert read.frames.flags.tolist() == [
        *(0, FrameFlag.EXTENDED, FrameFlag.REMOTE, FrameFlag.ERROR),
        *(fd | FrameFlag.BRS | FrameFlag.ESI, fd, fd, fd),
    ]
    assert read.frames.length.tolist() == [3, 12, 4, 8, 64, 0, 12, 1]
    assert bytes(read.frames.data[6]) == bytes(range(12)).ljust(64, b"\0")
    assert set(read.channel) == {"can0"}


def test_what_cannot_be_is_named_and_xl_is_counted() -> None:
    xl = struct.pack(">LBBHL", 0x123, 0x80, 0, 4, 0) + b"\1\2\3\4"
    bad = [
        b"\0\0\1",
        packet(0x800, b""),
        packet(1, b"", 4, length=9),
        packet(1, bytes(8))[:12],
        packet(1, b"", length=65),
    ]
    read = read_all(capture([packet(1, b""), xl, *bad, packet(2, b"")]))
    assert read.frames.arbitration_id.tolist() == [1, 2]
    assert read.others == {"CAN XL frames": 1}
    assert [reason.partition(": ")[2][:12] for reason in read.reasons] == [
        *("it has fewer", "its identifi", "its length i", "it has fewer", "its length i")
    ]


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_has_names_units_sections_and_directions(order: str) -> None:
    named = (
        option(2, b"vcan7", order)
        + option(9, b"\x09", order)
        + option(14, struct.pack(f"{order}q", 100), order)
    )
    sent = option(2, struct.pack(f"{order}L", 2), order)
    content = section(order) + description(named, order=order) + description(b"", order=order)
    content += enhanced(7, packet(1, b"\1"), options=sent, order=order)
    content += enhanced(1 << 40, packet(2, b"\2"), 1, order=order)
    content += block(3, struct.pack(f"{order}L", 16) + packet(3, b""), order) + block(5, bytes(12), order)
    content += section() + description(option(9, b"\x81") + option(2, b"a b")) + enhanced(3, packet(4, b""))
    content += description(link_type=1) + enhanced(3, bytes(60), 1) + block(77, b"") + enhanced(1, b"", 9)
    read = read_all(content)
    assert read.frames.arbitration_id.tolist() == [1, 2, 3, 4]
    assert read.frames.timestamp_ns.tolist() == [100 * S + 7, 1000 << 40, 1000 << 40, S * 3 // 2]
    assert read.frames.flags.tolist() == [FrameFlag.TX, 0, 0, 0]
    assert read.channel == ["vcan7", "can1", "vcan7", "can0"]
    assert sum(block.others.get("interface descriptions", 0) for block in read.blocks) == 4
    assert read.others["Ethernet packets"] == read.others["blocks of type 77"] == 1
    assert read.reasons == ["a packet of interface 9, which is not described"]


def test_cooked_packets_have_identifiers_in_the_order_of_the_machine() -> None:
    frame = struct.pack("<LBBBB", EFF | 0x1234, 1, 0, 0, 0) + b"\7".ljust(8, b"\0")
    cooked = struct.pack(">HHHQH", 4, 280, 0, 0, 0x000C) + frame
    other = struct.pack(">HHHQH", 0, 1, 0, 0, 0x0800) + bytes(20)
    read = read_all(capture([cooked, other], link_type=113))
    assert read.frames.arbitration_id.tolist() == [0x1234]
    assert read.frames.flags.tolist() == [FrameFlag.EXTENDED | FrameFlag.TX]
    assert read.others == {"packets that are no CAN frames": 1}
    two = [struct.pack(">HHLHBBQ", 0x000C, 0, number, 280, 0, 0, 0) + frame for number in (5, 3, 5)]
    assert read_all(capture(two, link_type=276)).channel == ["can0", "can1", "can0"]


def test_other_captures_are_refused_or_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="a capture of Ethernet, not of CAN: capture on a CAN interface"):
        read_all(capture([bytes(60)], link_type=1))
    with pytest.raises(LogError, match="not a capture"):
        read_all(b"# no capture at all, but text")
    read = read_all(section() + description(link_type=1) + enhanced(0, bytes(60)))
    assert read.reasons[0].startswith("no interface of this capture is CAN")
    path = tmp_path / "x.pcapng"
    path.write_bytes(section() + description() + enhanced(5, packet(1, b"")))
    assert open_log(path).format == "pcap"
    assert read_all(b"").blocks == []


@pytest.mark.parametrize("step", [1, 1 << 17])
def test_captures_joined_behind_one_another_are_all_read(step: int) -> None:
    first, second = packet(1, b"\1"), packet(2, b"\2")
    joined = capture([first]) + capture([second], order=">", magic=0xA1B23C4D, link_type=227 | 0x1400_0000)
    read = read_all(joined, step)
    assert (read.reasons, read.others) == ([], {"headers of further captures": 1})
    assert read.frames.arbitration_id.tolist() == [1, 2]
    assert read.frames.timestamp_ns.tolist() == [5000, 5]
    read = read_all(capture([first]) + capture([bytes(60)], link_type=1), step)
    assert (len(read.frames), read.is_cut) == (1, True)
    assert read.reasons[0].startswith("a capture of Ethernet, not of CAN")


@pytest.mark.parametrize("step", [1, 1 << 17])
def test_zeros_that_a_loss_of_power_left_are_one_place(step: int) -> None:
    read = read_all(capture([packet(1, b"\1")]) + bytes(4096), step)
    assert (len(read.frames), read.unreadable, read.is_cut) == (1, 1, True)
    assert read.reasons == ["zero bytes where a packet should begin: nothing behind it is read"]


def test_a_simple_packet_has_no_more_bytes_than_the_interface_captures() -> None:
    cut = block(1, struct.pack("<HHL", 227, 0, 9))
    simple = block(3, struct.pack("<L", 10) + struct.pack(">LBBBB", 1, 2, 0, 0, 0) + b"\1")
    read = read_all(section() + cut + simple)
    assert read.reasons == ["a packet is no CAN frame: it has fewer data bytes than its length says"]


def test_interfaces_keep_their_numbers_and_their_names_apart() -> None:
    unreadable = description(option(14, struct.pack("<q", 2**62)))
    ones = enhanced(1, packet(1, b""), 1) + enhanced(2, packet(2, b""), 2) + enhanced(3, packet(3, b""), 0)
    read = read_all(section() + unreadable + description(option(2, b"can2")) + description() + ones)
    assert read.frames.arbitration_id.tolist() == [1, 2]
    assert read.channel == ["can2", "can3"]
    assert read.reasons[1] == "a packet of interface 0, whose description cannot be read"


def test_cut_and_damaged_captures_keep_what_lies_before() -> None:
    dice = Random(14)
    packets = [packet(number, dice.randbytes(number % 9)) for number in range(100)]
    plain = capture(packets)
    ng = section() + description() + b"".join(enhanced(number, one) for number, one in enumerate(packets))
    for good, begin, size in ((plain, 24, 32), (ng, 48, 48)):
        assert read_all(good).frames.arbitration_id.tolist() == list(range(100))
        for cut in range(0, len(good), 61):
            read = read_all(good[:cut])
            whole = max(cut - begin, 0) // size
            assert read.frames.arbitration_id.tolist() == list(range(whole))
            assert (
                read.is_cut
                == read.unreadable
                == ((cut - begin) % size != 0 if cut > begin else 0 < cut not in (28, begin))
            )
        for _ in range(200):
            bad = with_other_bytes(dice, good)
            first = next((at for at, (a, b) in enumerate(zip(good, bad, strict=False)) if a != b), len(bad))
            if first < begin:
                continue
            started = time.perf_counter()
            read = read_all(bad)
            assert time.perf_counter() - started < 2
            whole = (first - begin) // size
            assert read.frames.arbitration_id.tolist()[:whole] == list(range(whole))
            assert len(read.frames) <= 100
