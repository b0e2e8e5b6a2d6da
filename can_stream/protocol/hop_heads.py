"""Headers of packets that follow each other, told by what is new in them: docs/wire-protocol.md, section 6.

Each end of a connection of version 2 remembers the header of the last packet of each lane and range, by the
same rule over the same packets: what one end leaves out the other puts back, byte for byte. Nothing here
judges a packet; one that does not begin as was to be expected travels whole.
"""

from __future__ import annotations

from typing import Final

from can_stream.protocol.errors import PacketError
from can_stream.protocol.packet_head import MAX_ROWS, PACKET_VERSION, take_head
from can_stream.protocol.varint import Reader, put_varint, take_varint, zigzag

_VERSION: Final = bytes((PACKET_VERSION,))
_NAME_BYTES: Final = 10  # version, kind and start_id
_MAX_STEP: Final = 2**64 - 1


class LastHead:
    """How the header of the next batch of one lane and range begins, if it follows the last one.

    A time is the little-endian number that its bytes make: to compute it takes a quarter of what the value of
    the varint would take, and its steps deflate nearly as well.
    """

    __slots__ = ("_due", "_name", "_position", "_resolution", "_seq", "_time", "_time_bytes")

    def __init__(self, name: bytes, seq: int, position: int, resolution: bytes, time: bytes) -> None:
        """`name`: version, kind and start_id; `seq`, `position`: of the next; `time`: the last's earliest."""
        self._name, self._seq, self._position = name, seq, position
        self._resolution = resolution
        self._time, self._time_bytes = int.from_bytes(time, "little"), len(time)
        self._due = _due(name, seq, position)

    def put_next(self, out: bytearray, packet: bytes) -> bool:
        """Append what is new in a packet; False, and nothing is done, where it does not follow."""
        due, resolution = self._due, self._resolution
        if not packet.startswith(due):
            return False
        begin = len(due)
        try:
            rows, behind_rows = take_varint(packet, begin)
        except PacketError:
            return False
        time_begin = behind_rows + len(resolution)
        time_end = time_begin + self._time_bytes
        time = int.from_bytes(packet[time_begin:time_end], "little")
        step = time - self._time
        if not packet.startswith(resolution, behind_rows) or len(packet) < time_end:
            return False
        if rows > MAX_ROWS or not 0 <= step <= _MAX_STEP:
            return False
        out += packet[begin:behind_rows]
        put_varint(out, step)
        out += packet[time_end:]
        self._advance(rows, time)
        return True

    def take_next(self, data: bytes, begin: int) -> bytes:
        """The whole packet of which `data` has, from `begin` on, what is new. Raises PacketError."""
        rows, behind_rows = take_varint(data, begin)
        step, behind_step = take_varint(data, behind_rows)
        time = self._time + step
        if rows > MAX_ROWS or time >> 8 * self._time_bytes:
            raise PacketError("rows or time of a packet that follows are out of range", begin)
        time_bytes = time.to_bytes(self._time_bytes, "little")
        packet = self._due + data[begin:behind_rows] + self._resolution + time_bytes + data[behind_step:]
        self._advance(rows, time)
        return packet

    def _advance(self, rows: int, time: int) -> None:
        self._time = time
        self._seq += 1
        self._position += rows
        self._due = _due(self._name, self._seq, self._position)


def last_head(packet: bytes) -> LastHead | None:
    """What is remembered of a packet that travelled whole: nothing of what is no batch of version 2."""
    if not packet.startswith(_VERSION):
        return None
    try:
        head, times = take_head(Reader(packet))
    except PacketError:
        return None
    if times is None or head.position is None:
        return None
    resolution, time = _varint(times.resolution_ns), _varint(zigzag(times.low))
    return LastHead(packet[:_NAME_BYTES], head.number.seq + 1, head.position + times.rows, resolution, time)


def _due(name: bytes, seq: int, position: int) -> bytes:
    due = bytearray(name)
    put_varint(due, seq)
    put_varint(due, position)
    return bytes(due)


def _varint(value: int) -> bytes:
    out = bytearray()
    put_varint(out, value)
    return bytes(out)
