"""Compressed bytes in, what they were before out: gzip, bzip2, xz, lzma and zstd, in bounded steps.

Whatever comes before a damaged place is given. Public descriptions: RFC 1952 (gzip), RFC 8878 (zstd),
tukaani.org's of .xz; several streams in one file follow on each other, zeros may stand behind them.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from msgspec import Struct

PACKED_BYTES: Final = 64 * 1024
UNPACKED_BYTES: Final = 256 * 1024
_MAGIC_BYTES: Final = 8
# `xz -9` asks for 65 MB; the file says how much, up to 4 GB.
_XZ_MEMORY_BYTES: Final = 256 * 1024 * 1024
_WITH_GZIP_HEADER: Final = 31


class UnpackerMissingError(Exception):
    """What unpacks this is not installed: the message says what to install."""


class BrokenOffError(EOFError):
    """Compressed data that is damaged or ends before its end: the message says where."""


class _Unpacker(Protocol):
    """One compressed stream, with the members that the standard library's classes have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's object in the shape of the others. Unlike them it can be copied as it stands."""

    def __init__(self, state: Any = None) -> None:
        self._state = zlib.decompressobj(_WITH_GZIP_HEADER) if state is None else state
        self._tail = b""  # taken, and not looked at
        self._is_full = False  # there may be more of what was looked at

    @property
    def eof(self) -> bool:
        return bool(self._state.eof)

    @property
    def needs_input(self) -> bool:
        return not self._tail and not self._is_full

    @property
    def unused_data(self) -> bytes:
        return bytes(self._state.unused_data)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        unpacked = bytes(self._state.decompress(self._tail + data, max(max_length, 0)))
        self._tail = self._state.unconsumed_tail
        self._is_full = len(unpacked) == max_length
        return unpacked

    def split(self) -> tuple[_Gzip, bytes]:
        """A copy that has not taken what it has not looked at, and that."""
        return _Gzip(self._state.copy()), self._tail


def _bzip2() -> _Unpacker:
    import bz2  # noqa: PLC0415 - only who has such a log needs it

    return bz2.BZ2Decompressor()


def _xz() -> _Unpacker:
    import lzma  # noqa: PLC0415 - likewise

    return lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)


def _zstd() -> _Unpacker:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415 - only who has such a log needs it
        else:
            from backports import zstd  # noqa: PLC0415
    except ImportError:
        raise UnpackerMissingError("reading .zst needs a package: pip install backports.zstd") from None
    unpacker: _Unpacker = zstd.ZstdDecompressor()
    return unpacker


class Compression(Struct, frozen=True):
    """A way to compress: its name, the first bytes of its files, and what makes an unpacker of one stream."""

    name: str
    magics: tuple[bytes, ...]
    make: Callable[[], _Unpacker]


# Of zstd a frame that holds nothing of the file may come first: pzstd writes one.
_ZSTD_MAGICS: Final = (b"\x28\xb5\x2f\xfd", *(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60)))
COMPRESSIONS: Final = (
    Compression("gzip", (b"\x1f\x8b",), _Gzip),
    Compression("bzip2", tuple(b"BZh%d" % level for level in range(1, 10)), _bzip2),
    Compression("xz", (b"\xfd7zXZ\0",), _xz),
    Compression("lzma", (b"\x5d\0\0",), _xz),
    Compression("zstd", _ZSTD_MAGICS, _zstd),
)


def compression_of(head: bytes) -> Compression | None:
    """How the file that begins with `head` is compressed, None where it is not."""
    return next((one for one in COMPRESSIONS if head.startswith(one.magics)), None)


class Unpacked:
    """What the bytes that `read` gives were before they were compressed.

    `again(offset)` gives the same bytes once more from there on, None where it cannot. `left_over`: bytes
    that are no compressed data stand behind the end.
    """

    def __init__(
        self,
        compression: Compression,
        read: Callable[[int], bytes],
        again: Callable[[int], Iterator[bytes]] | None = None,
    ) -> None:
        self.left_over = False
        self._compression: Final = compression
        self._read_packed = read
        self._again = again
        self._packed_bytes = 0
        self._unpacked_bytes = 0
        self._pieces = self._all()

    def read(self) -> bytes:
        """Some of it, less than twice `UNPACKED_BYTES`; b"" at the end. Raises `BrokenOffError`."""
        return next(self._pieces, b"")

    def _all(self) -> Iterator[bytes]:
        chunk = self._more()
        while chunk:
            unpacker = self._compression.make()
            yield from self._stream(unpacker, chunk)
            chunk = self._next_stream(unpacker.unused_data)
            if chunk and not chunk.startswith(self._compression.magics):
                self.left_over = True
                return

    def _stream(self, unpacker: _Unpacker, chunk: bytes) -> Iterator[bytes]:
        """One of the streams of the file, which begins with `chunk`."""
        began = chunk_began = self._packed_bytes - len(chunk)
        given = 0
        while not unpacker.eof:
            before = unpacker.split() if isinstance(unpacker, _Gzip) else None
            try:
                piece = unpacker.decompress(chunk, UNPACKED_BYTES)
            except Exception as error:  # each library has its own
                if before is not None:
                    rest = _byte_by_byte(before[0], before[1] + chunk)
                else:
                    rest = self._once_more(began, chunk_began, given)
                for piece in rest:
                    self._unpacked_bytes += len(piece)
                    yield piece
                raise BrokenOffError(self._place(_what_is_wrong(error))) from None
            given += len(piece)
            self._unpacked_bytes += len(piece)
            if piece:
                yield piece
            chunk = b""
            if not unpacker.eof and unpacker.needs_input:
                chunk_began = self._packed_bytes
                if not (chunk := self._more()):
                    raise BrokenOffError(self._place("ends before its end: the file was cut"))

    def _next_stream(self, rest: bytes) -> bytes:
        """The beginning of the next stream, behind zeros; b"" at the end of the file."""
        rest = rest.lstrip(b"\0")
        while len(rest) < _MAGIC_BYTES and (more := self._more()):
            rest = (rest + more).lstrip(b"\0")
        return rest

    def _more(self) -> bytes:
        chunk = self._read_packed(PACKED_BYTES)
        self._packed_bytes += len(chunk)
        return chunk

    def _once_more(self, began: int, chunk_began: int, given: int) -> Iterator[bytes]:
        """What the damaged chunk of the stream gives byte by byte, but for what was `given` of the stream."""
        if self._again is None:
            return
        unpacker, place = self._compression.make(), began
        for chunk in self._again(began):
            intact = chunk[: chunk_began - place]
            given -= sum(map(len, _pieces(unpacker, intact)))
            place += len(intact)
            if place == chunk_began:
                break
        for piece in _byte_by_byte(unpacker, next(self._again(chunk_began), b"")):
            if given < len(piece):
                yield piece[max(given, 0) :]
            given -= len(piece)

    def _place(self, what: str) -> str:
        return (
            f"the {self._compression.name} data {what}, after {self._unpacked_bytes:,} bytes of what it holds"
        )


def _what_is_wrong(error: Exception) -> str:
    if isinstance(error, MemoryError) or "memory" in str(error).lower():
        return "asks for too much memory: unpack it with the tool that made it"
    return "is damaged"


def _pieces(unpacker: _Unpacker, chunk: bytes) -> Iterator[bytes]:
    """All that comes of `chunk`."""
    while not unpacker.eof and (chunk or not unpacker.needs_input):
        yield unpacker.decompress(chunk, UNPACKED_BYTES)
        chunk = b""


def _byte_by_byte(unpacker: _Unpacker, chunk: bytes) -> Iterator[bytes]:
    """All that comes of `chunk` before the place in it that is damaged."""
    found = bytearray()
    try:
        for place in range(len(chunk)):
            for piece in _pieces(unpacker, chunk[place : place + 1]):
                found += piece
                if len(found) >= UNPACKED_BYTES:
                    yield bytes(found)
                    found.clear()
    except Exception:  # noqa: S110 - where it was known to be
        pass
    if found:
        yield bytes(found)
