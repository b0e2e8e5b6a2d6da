"""Blocks of pcapng: sections, interfaces, packets. Source: the IETF's draft on pcapng."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from can_stream.errors import LineError
from can_stream.logs.formats.binary.pcap_links import Interface
from can_stream.logs.log_blocks import channel_name

SECTION: Final = 0x0A0D0D0A
DESCRIPTION: Final = 1
_OLD_PACKET, _SIMPLE_PACKET, _PACKET = 2, 3, 6
PACKETS: Final = (_OLD_PACKET, _SIMPLE_PACKET, _PACKET)
HEAD_BYTES: Final = 12
MAX_BLOCK_BYTES: Final = 16 * 1024 * 1024
_MAX_OPTIONS: Final = 64
_NAME, _RESOLUTION, _OFFSET = 2, 9, 14
_PACKET_FLAGS: Final = 2
_OUTBOUND: Final = 2
_MAX_OFFSET_SECONDS: Final = 2**33
_OTHERS: Final = {
    SECTION: "section headers",
    DESCRIPTION: "interface descriptions",
    4: "name resolutions",
    5: "interface statistics",
    9: "journal entries",
    10: "decryption secrets",
}


class RawPacket(Struct, frozen=True):
    """A packet in a block: its interface's number, its time in the interface's units, None where it has none,

    where in the block it begins, how many bytes of it were captured, and whether it was sent.
    """

    interface: int
    ticks: int | None
    begin: int
    size: int
    is_sent: bool = False


def byte_order(magic: bytes) -> str | None:
    """`<` or `>`, from the third word of a section header; None where it is neither."""
    number = 0x1A2B3C4D
    return {number.to_bytes(4, "little"): "<", number.to_bytes(4, "big"): ">"}.get(magic)


def block_name(kind: int) -> str:
    """What blocks that hold no packet are called, in the plural."""
    return _OTHERS.get(kind, f"blocks of type {kind}")


def interface_of(block: bytes, order: str) -> Interface:
    """An interface description; `channel` is empty where it has no name."""
    if len(block) < 20:
        raise LineError("an interface description is too short")
    link_type, _, most = struct.unpack_from(f"{order}HHL", block, 8)
    name, units, offset = "", 1_000_000, 0
    for code, value in _options(block, 16, order):
        if code == _NAME:
            name = _name(value) or name
        elif code == _RESOLUTION and value:
            units = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == _OFFSET and len(value) == 8:
            (offset,) = struct.unpack(f"{order}q", value)
    if abs(offset) > _MAX_OFFSET_SECONDS:
        raise LineError(f"an interface's times count from {offset} s, which no clock shows")
    return Interface(link_type, name, units, offset, most or MAX_BLOCK_BYTES)


def _name(value: bytes) -> str | None:
    try:
        return channel_name(value.rstrip(b"\0"))
    except LineError:
        return None


def packet_of(kind: int, block: bytes, order: str) -> RawPacket:
    """The packet of a block of one of the kinds `PACKETS`."""
    if kind == _SIMPLE_PACKET:
        # How much was captured is the original size, but no more than the interface's packets have.
        (size,) = struct.unpack_from(f"{order}L", block, 8) if len(block) >= 16 else (0,)
        return RawPacket(0, None, 12, min(size, max(len(block) - 16, 0)))
    if len(block) < 32:
        raise LineError("a packet's block is too short")
    if kind == _OLD_PACKET:
        interface, _, high, low, size = struct.unpack_from(f"{order}HHLLL", block, 8)
    else:
        interface, high, low, size = struct.unpack_from(f"{order}LLLL", block, 8)
    if size > len(block) - 32:
        raise LineError("a packet is larger than its block")
    return RawPacket(interface, high << 32 | low, 28, size, _is_sent(block, 28 + size + -size % 4, order))


def _is_sent(block: bytes, begin: int, order: str) -> bool:
    for code, value in _options(block, begin, order):
        if code == _PACKET_FLAGS and len(value) == 4:
            return bool(struct.unpack(f"{order}L", value)[0] & 3 == _OUTBOUND)
    return False


def _options(block: bytes, begin: int, order: str) -> Iterator[tuple[int, bytes]]:
    """Codes and values, up to the end of the options or of the block, which has its size once more there."""
    end = len(block) - 4
    for _ in range(_MAX_OPTIONS):
        if begin + 4 > end:
            return
        code, size = struct.unpack_from(f"{order}HH", block, begin)
        if code == 0 or begin + 4 + size > end:
            return
        yield code, block[begin + 4 : begin + 4 + size]
        begin += 4 + size + -size % 4
