"""BLF files and parts of them, as Vector's tools lay them out."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Final

START: Final = (2024, 5, 4, 16, 6, 16, 50, 884)
"""Year, month, day of the week, day, hour, minute, second, millisecond."""
NO_START: Final = (0,) * 8
_HEADER: Final = struct.Struct("<4sLBBBBBBBBQQLL8H8H")


def header(objects: int = 0, start: Sequence[int] = START) -> bytes:
    """144 bytes; `objects`: how many it says there are."""
    return _HEADER.pack(b"LOGG", 144, 2, *[0] * 9, objects, 0, *start, *start).ljust(144, b"\0")


def blf_object(
    kind: int,
    payload: bytes,
    at: int = 0,
    *,
    version: int = 1,
    unit: int = 2,
    padding: int | None = None,
) -> bytes:
    """An object of header version 1 or 2; `at`: its time, in 10 us where `unit` is 1, in ns where it is 2."""
    more = struct.pack("<LHHQ", unit, 0, 0, at) + (bytes(8) if version == 2 else b"")
    size = 16 + len(more) + len(payload)
    head = struct.pack("<4sHHLL", b"LOBJ", 16 + len(more), version, size, kind)
    return head + more + payload + bytes(size % 4 if padding is None else padding)


def can_message(
    identifier: int,
    data: bytes,
    at: int = 0,
    *,
    channel: int = 1,
    flags: int = 0,
    code: int | None = None,
) -> bytes:
    """CAN_MESSAGE; bit 31 of the identifier is set for 29 bits."""
    return blf_object(1, classic(identifier, data, channel=channel, flags=flags, code=code), at)


def classic(
    identifier: int, data: bytes, *, channel: int = 1, flags: int = 0, code: int | None = None
) -> bytes:
    """What CAN_MESSAGE holds, and CAN_MESSAGE2 begins with."""
    length = len(data) if code is None else code
    return struct.pack("<HBBL8s", channel, flags, length, identifier, data)


def fd_64(
    identifier: int, data: bytes, code: int, *, flags: int = 0x1000, direction: int = 0, extra: bytes = b""
) -> bytes:
    """What CAN_FD_MESSAGE_64 holds; `extra` lies behind the data."""
    extra_at = 32 + 40 + len(data) if extra else 0
    head = struct.pack("<BBBBLLL", 1, code, len(data), 0, identifier, 0, flags)
    return head + bytes(18) + struct.pack("<BBL", direction, extra_at, 0) + data + extra


def container(content: bytes, method: int = 2, level: int = -1) -> bytes:
    """A log container; `method` 0 for stored, 2 for deflated."""
    packed = zlib.compress(content, level) if method == 2 else content
    size = 32 + len(packed)
    head = struct.pack("<4sHHLLHxxxxxxLxxxx", b"LOBJ", 16, 1, size, 10, method, len(content))
    return head + packed + bytes(size % 4)
