"""What wraps a packet for one WebSocket hop: which lane and range it belongs to, deflated with a context
that lives as long as the connection (RFC 1951, sync flush without its constant tail). In version 2 a packet
that follows the one before it says only what is new in its header. Acks go back plain."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from msgspec import Struct

from can_stream.protocol.deflate import Deflater, Inflater
from can_stream.protocol.errors import PacketError
from can_stream.protocol.hop_heads import LastHead, last_head
from can_stream.protocol.packet_head import MAX_SEQ, PacketNumber
from can_stream.protocol.varint import Reader, put_varint, take_varint

_MAX_LANE_INDEX: Final = 4095
# In the byte that says the range.
_FOLLOWS: Final = 2
_HAS_AGE: Final = 4
_PING: Final = 2  # what an ack's first byte is not
_MAX_MICROSECONDS: Final = 2**62


class RangeKind(IntEnum):
    """Which of a lane's two ranges: produced on this connection, or waiting before it."""

    LIVE = 0
    BACKLOG = 1


_RANGES: Final = tuple(RangeKind)


class Age(Struct, frozen=True):
    """How old a packet is when it is sent. The receiver adds how long it was on its way, at most what has
    gone by since `ping`, its newest ping that has come to the sender (0: none), less `held_us` that the
    sender has had it. `age_us`: an upper bound for every frame in it; None where it cannot be known."""

    age_us: int | None
    ping: int
    held_us: int


class Envelope(Struct, frozen=True):
    """A packet's bytes on their way through one connection; `age` where the connection carries ages."""

    lane_index: int
    range_kind: RangeKind
    packet: bytes
    age: Age | None = None


class Ack(Struct, frozen=True):
    """Everything sent in this range on this connection up to `number` is recorded."""

    lane_index: int
    range_kind: RangeKind
    number: PacketNumber


class HopEncoder:
    """The sending end of one connection, which speaks `version` of the wire protocol: 1 has no ages."""

    def __init__(self, version: int = 1) -> None:
        self._deflater = Deflater()
        self._remembers = version > 1
        self._lasts: dict[int, LastHead | None] = {}

    def encode(self, envelope: Envelope) -> bytes:
        """One binary message. Messages must be sent in the order they were encoded, each of them."""
        out = bytearray((envelope.range_kind,))
        put_varint(out, envelope.lane_index)
        if envelope.age is not None and self._remembers:
            out[0] |= _HAS_AGE
            put_age(out, envelope.age)
        place = envelope.lane_index << 1 | envelope.range_kind
        last = self._lasts.get(place)
        if last is not None and last.put_next(out, envelope.packet):
            out[0] |= _FOLLOWS
        else:
            out += envelope.packet
            if self._remembers:
                self._lasts[place] = last_head(envelope.packet)
        return self._deflater.pack(out)


class HopDecoder:
    """The receiving end of one connection, which speaks `version` of the wire protocol."""

    def __init__(self, version: int = 1) -> None:
        self._inflater = Inflater()
        self._remembers = version > 1
        self._highest_first = (_FOLLOWS | _HAS_AGE if version > 1 else 0) | max(RangeKind)
        self._lasts: dict[int, LastHead | None] = {}

    def decode(self, message: bytes) -> Envelope:
        """The envelope of one binary message. Raises PacketError; the connection is then of no more use."""
        data = self._inflater.unpack(message)
        lane_index, begin = take_varint(data, 1)
        first = data[0]
        if first > self._highest_first:
            raise PacketError(f"range kind {first} is unknown", 0)
        if lane_index > _MAX_LANE_INDEX:
            raise PacketError(f"lane index is {lane_index}, 0 to {_MAX_LANE_INDEX} are allowed", 1)
        age = None
        if first & _HAS_AGE:
            reader = Reader(data, begin)
            age, begin = take_age(reader), reader.offset
        range_kind = _RANGES[first & ~(_FOLLOWS | _HAS_AGE)]
        place = lane_index << 1 | range_kind
        if first & _FOLLOWS:
            last = self._lasts.get(place)
            if last is None:
                raise PacketError(f"a packet of lane {lane_index} follows none that is remembered", 0)
            packet = last.take_next(data, begin)
        else:
            packet = data[begin:]
            if self._remembers:
                self._lasts[place] = last_head(packet)
        return Envelope(lane_index, range_kind, packet, age)


def put_age(out: bytearray, age: Age) -> None:
    """Appends varint age + 1 (0: unknown), varint ping, varint how long it is held, in microseconds."""
    put_varint(out, 0 if age.age_us is None else age.age_us + 1)
    put_varint(out, age.ping)
    put_varint(out, age.held_us)


def take_age(reader: Reader) -> Age:
    """The inverse of `put_age`. Raises PacketError."""
    age_us = reader.varint("age", _MAX_MICROSECONDS) - 1
    ping = reader.varint("ping", MAX_SEQ)
    return Age(None if age_us < 0 else age_us, ping, reader.varint("time held", _MAX_MICROSECONDS))


def encode_ping(number: int) -> bytes:
    """One binary message of whoever receives packets: its ping of this number, from 1."""
    out = bytearray((_PING,))
    put_varint(out, number)
    return bytes(out)


def decode_ping(message: bytes) -> int | None:
    """The number of a ping; None where it is another message. Raises PacketError."""
    if message[:1] != bytes((_PING,)):
        return None
    reader = Reader(message, 1)
    number = reader.varint("ping", MAX_SEQ, 1)
    reader.end()
    return number


def encode_ack(ack: Ack) -> bytes:
    """One binary message from the server."""
    out = bytearray((ack.range_kind,))
    put_varint(out, ack.lane_index)
    out += bytes.fromhex(ack.number.start_id)
    put_varint(out, ack.number.seq)
    return bytes(out)


def decode_ack(message: bytes) -> Ack:
    """The inverse of `encode_ack`. Raises PacketError."""
    reader = Reader(message)
    range_kind = _range_kind(reader)
    lane_index = reader.varint("lane index", _MAX_LANE_INDEX)
    start_id = reader.take(8).hex()
    ack = Ack(lane_index, range_kind, PacketNumber(start_id, reader.varint("seq", MAX_SEQ, 1)))
    reader.end()
    return ack


def _range_kind(reader: Reader) -> RangeKind:
    value = reader.byte()
    if value >= len(_RANGES):
        raise PacketError(f"range kind {value} is unknown", 0)
    return _RANGES[value]
