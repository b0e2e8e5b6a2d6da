"""What a server hands to a gateway on /ws/relay: packets as it received them, and rows of counts.

One binary message each, deflated with a context that lives as long as the connection, like the packets that
come up. docs/wire-protocol.md, section 9.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import Struct

from can_stream.protocol.deflate import Deflater, Inflater
from can_stream.protocol.errors import PacketError
from can_stream.protocol.hop import Age, put_age, take_age
from can_stream.protocol.packet_head import MAX_SEQ
from can_stream.protocol.relay_control import NOT_SENT, NotSent
from can_stream.protocol.varint import Reader, put_varint

MAX_DIRECTION: Final = 4095
_COUNTS: Final = 1  # in the first byte
_FRESH: Final = 2
_COUNTS_IN_DOUBT: Final = 3
_FROM_LOG: Final = 4


class Item(Struct, frozen=True):
    """A packet of frames for direction `direction`, as it was received. `fresh`: it came live to this process
    of the server, and was never offered to anybody before. `from_log`: its source plays a log."""

    direction: int
    age: Age
    fresh: bool
    packet: bytes
    from_log: bool = False


class Counts(Struct, frozen=True):
    """Frames of a start that are not handed over: `frames` of others between the positions `first` and
    `through` (which is not among them), for one reason. `in_doubt`: whoever was served before may have sent
    them, so that this is what they count as."""

    direction: int
    start_id: str
    first: int
    through: int
    frames: int
    reason: NotSent
    in_doubt: bool = False


Handed: TypeAlias = Item | Counts


class ItemEncoder:
    """The server's end of one connection."""

    def __init__(self) -> None:
        self._deflater = Deflater()

    def encode(self, handed: Handed) -> bytes:
        """One binary message. Messages must be sent in the order they were encoded, each of them."""
        out = bytearray((0,))
        put_varint(out, handed.direction)
        if isinstance(handed, Item):
            out[0] = (_FRESH if handed.fresh else 0) | (_FROM_LOG if handed.from_log else 0)
            put_age(out, handed.age)
            out += handed.packet
        else:
            out[0] = _COUNTS_IN_DOUBT if handed.in_doubt else _COUNTS
            out += bytes.fromhex(handed.start_id)
            for value in (handed.first, handed.through - handed.first, handed.frames):
                put_varint(out, value)
            out.append(NOT_SENT.index(handed.reason))
        return self._deflater.pack(out)


class ItemDecoder:
    """The gateway's end of one connection."""

    def __init__(self) -> None:
        self._inflater = Inflater()

    def decode(self, message: bytes) -> Handed:
        """Raises PacketError; the connection is then of no more use. The packet itself is not judged."""
        reader = Reader(self._inflater.unpack(message))
        first = reader.byte()
        if first > _COUNTS_IN_DOUBT and first & ~_FRESH != _FROM_LOG:
            raise PacketError(f"kind {first} of what is handed over is unknown", 0)
        direction = reader.varint("direction", MAX_DIRECTION)
        if first & _COUNTS:
            return _take_counts(reader, direction, in_doubt=first == _COUNTS_IN_DOUBT)
        age = take_age(reader)
        fresh, from_log = bool(first & _FRESH), bool(first & _FROM_LOG)
        return Item(direction, age, fresh, reader.data[reader.offset :], from_log)


def _take_counts(reader: Reader, direction: int, *, in_doubt: bool) -> Counts:
    start_id = reader.take(8).hex()
    first = reader.varint("position", MAX_SEQ)
    through = first + reader.varint("positions", MAX_SEQ - first)
    frames = reader.varint("frames", through - first)
    at = reader.offset
    reason = reader.byte()
    if reason >= len(NOT_SENT):
        raise PacketError(f"reason {reason} is unknown", at)
    reader.end()
    return Counts(direction, start_id, first, through, frames, NOT_SENT[reason], in_doubt)
