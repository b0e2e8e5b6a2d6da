"""What wraps a packet for one WebSocket hop: which lane and range it belongs to, deflated with a context
that lives as long as the connection (RFC 1951, sync flush without its constant tail). In version 2 a packet
that follows the one before it says only what is new in its header. Acks go back plain."""

from __future__ import annotations

import zlib
from enum import IntEnum
from typing import Final

from msgspec import Struct

from can_stream.protocol.errors import PacketError
from can_stream.protocol.hop_heads import LastHead, last_head
from can_stream.protocol.packet_head import MAX_PACKET_BYTES, MAX_SEQ, PacketNumber
from can_stream.protocol.varint import Reader, put_varint, take_varint

MAX_HOP_BYTES: Final = MAX_PACKET_BYTES + 64
# Deflate cannot expand incompressible data by more than this (5 bytes per stored block of 16 KiB or more).
MAX_DEFLATED_BYTES: Final = MAX_HOP_BYTES + MAX_HOP_BYTES // 1024 + 64
_MAX_LANE_INDEX: Final = 4095
# Level 6 takes half as long again for 2 % less bytes on real buses. More memory brings nothing.
_LEVEL: Final = 5
_MEMORY_LEVEL: Final = 8
_FOLLOWS: Final = 2  # in the byte that says the range
_SYNC_TAIL: Final = b"\x00\x00\xff\xff"


class RangeKind(IntEnum):
    """Which of a lane's two ranges: produced on this connection, or waiting before it."""

    LIVE = 0
    BACKLOG = 1


_RANGES: Final = tuple(RangeKind)


class Envelope(Struct, frozen=True):
    """A packet's bytes on their way through one connection."""

    lane_index: int
    range_kind: RangeKind
    packet: bytes


class Ack(Struct, frozen=True):
    """Everything sent in this range on this connection up to `number` is recorded."""

    lane_index: int
    range_kind: RangeKind
    number: PacketNumber


class HopEncoder:
    """The sending end of one connection, which speaks `version` of the wire protocol."""

    def __init__(self, version: int = 1) -> None:
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, _MEMORY_LEVEL)
        self._remembers = version > 1
        self._lasts: dict[int, LastHead | None] = {}

    def encode(self, envelope: Envelope) -> bytes:
        """One binary message. Messages must be sent in the order they were encoded, each of them."""
        out = bytearray((envelope.range_kind,))
        put_varint(out, envelope.lane_index)
        place = envelope.lane_index << 1 | envelope.range_kind
        last = self._lasts.get(place)
        if last is not None and last.put_next(out, envelope.packet):
            out[0] |= _FOLLOWS
        else:
            out += envelope.packet
            if self._remembers:
                self._lasts[place] = last_head(envelope.packet)
        deflated = self._deflate.compress(out)
        deflated += self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return deflated[: -len(_SYNC_TAIL)]


class HopDecoder:
    """The receiving end of one connection, which speaks `version` of the wire protocol."""

    def __init__(self, version: int = 1) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._remembers = version > 1
        self._highest_first = (_FOLLOWS if version > 1 else 0) | max(RangeKind)
        self._lasts: dict[int, LastHead | None] = {}

    def decode(self, message: bytes) -> Envelope:
        """The envelope of one binary message. Raises PacketError; the connection is then of no more use."""
        data = self._inflated(message)
        lane_index, begin = take_varint(data, 1)
        first = data[0]
        if first > self._highest_first:
            raise PacketError(f"range kind {first} is unknown", 0)
        if lane_index > _MAX_LANE_INDEX:
            raise PacketError(f"lane index is {lane_index}, 0 to {_MAX_LANE_INDEX} are allowed", 1)
        range_kind = _RANGES[first & ~_FOLLOWS]
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
        return Envelope(lane_index, range_kind, packet)

    def _inflated(self, message: bytes) -> bytes:
        if len(message) > MAX_DEFLATED_BYTES:
            raise PacketError(f"message of {len(message)} bytes, at most {MAX_DEFLATED_BYTES} are allowed")
        try:
            data = self._inflate.decompress(message + _SYNC_TAIL, MAX_HOP_BYTES)
        except zlib.error as error:
            raise PacketError(f"broken deflate data ({error})") from error
        if self._inflate.unconsumed_tail or self._inflate.eof:
            raise PacketError(f"message inflates to more than {MAX_HOP_BYTES} bytes or ends the stream")
        return data


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
