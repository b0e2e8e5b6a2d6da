"""Variable-length integers: 7 bits per byte, least significant first, at most 64 bits; signed ones zigzag."""

from __future__ import annotations

from typing import Final

from can_stream.protocol.errors import PacketError

_MAX_BITS: Final = 70


def put_varint(out: bytearray, value: int) -> None:
    """Append an unsigned integer below 2**64."""
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)


def zigzag(value: int) -> int:
    """A signed integer as an unsigned one, small where the magnitude is small."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def unzigzag(value: int) -> int:
    """The inverse of `zigzag`."""
    return value >> 1 if value & 1 == 0 else -((value + 1) >> 1)


def take_varint(data: bytes, begin: int, name: str = "varint") -> tuple[int, int]:
    """The integer that begins there, and where it ends; `name` is for the error. Raises PacketError."""
    value, shift, end = 0, 0, begin
    try:
        while shift < _MAX_BITS:
            byte = data[end]
            end += 1
            if byte < 0x80:
                return value | byte << shift, end
            value |= (byte & 0x7F) << shift
            shift += 7
    except IndexError:
        raise PacketError("1 byte expected, 0 left", end) from None
    raise PacketError(f"{name} has more than {_MAX_BITS // 7} bytes", begin)


class Reader:
    """Reads fields off the front of one binary message. Every method raises PacketError at its end."""

    __slots__ = ("data", "offset")

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self.data = data
        self.offset = offset

    def byte(self) -> int:
        """One byte."""
        if self.offset >= len(self.data):
            raise PacketError("1 byte expected, 0 left", self.offset)
        self.offset += 1
        return self.data[self.offset - 1]

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        start, end = self.offset, self.offset + count
        if end > len(self.data):
            raise PacketError(f"{count} bytes expected, {len(self.data) - start} left", start)
        self.offset = end
        return self.data[start:end]

    def varint(self, name: str, maximum: int, minimum: int = 0) -> int:
        """An unsigned integer within bounds; `name` is for the error."""
        data, start = self.data, self.offset
        if start < len(data) and data[start] < 0x80:
            value, self.offset = data[start], start + 1
        else:
            value, self.offset = take_varint(data, start, name)
        if not minimum <= value <= maximum:
            raise PacketError(f"{name} is {value}, {minimum} to {maximum} are allowed", start)
        return value

    def signed(self, name: str) -> int:
        """A zigzag integer of at most 64 bits."""
        return unzigzag(self.varint(name, 2**64 - 1))

    def end(self) -> None:
        """Nothing may be left."""
        if self.offset != len(self.data):
            raise PacketError(f"{len(self.data) - self.offset} bytes behind the end", self.offset)
