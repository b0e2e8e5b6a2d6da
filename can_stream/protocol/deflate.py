"""Messages deflated with a context that lives as long as their connection: RFC 1951, each with a sync flush
whose constant tail is left out."""

from __future__ import annotations

import zlib
from typing import Final

from can_stream.protocol.errors import PacketError
from can_stream.protocol.packet_head import MAX_PACKET_BYTES

MAX_HOP_BYTES: Final = MAX_PACKET_BYTES + 64
# Deflate cannot expand incompressible data by more than this (5 bytes per stored block of 16 KiB or more).
MAX_DEFLATED_BYTES: Final = MAX_HOP_BYTES + MAX_HOP_BYTES // 1024 + 64
# Level 6 takes half as long again for 2 % less bytes on real buses. More memory brings nothing.
_LEVEL: Final = 5
_MEMORY_LEVEL: Final = 8
_SYNC_TAIL: Final = b"\x00\x00\xff\xff"


class Deflater:
    """The sending end. Messages must be sent in the order in which they were packed, each of them."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, _MEMORY_LEVEL)

    def pack(self, data: bytes | bytearray) -> bytes:
        """One message."""
        deflated = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return deflated[: -len(_SYNC_TAIL)]


class Inflater:
    """The receiving end."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def unpack(self, message: bytes) -> bytes:
        """What was packed, at most MAX_HOP_BYTES. PacketError: the connection is of no more use."""
        if len(message) > MAX_DEFLATED_BYTES:
            raise PacketError(f"message of {len(message)} bytes, at most {MAX_DEFLATED_BYTES} are allowed")
        try:
            data = self._inflate.decompress(message + _SYNC_TAIL, MAX_HOP_BYTES)
        except zlib.error as error:
            raise PacketError(f"broken deflate data ({error})") from error
        if self._inflate.unconsumed_tail or self._inflate.eof:
            raise PacketError(f"message inflates to more than {MAX_HOP_BYTES} bytes or ends the stream")
        return data
