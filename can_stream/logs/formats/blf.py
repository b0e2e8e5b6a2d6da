"""Vector BLF: a header, then objects, most of them packed into containers that are compressed each by itself.

Objects may lie across containers, and outside of them. The header says when the measurement began, in local
time without a zone, and how many objects there are, 0 where the recorder did not end well. Public sources:
Vector's `binlog_objects.h` and the library Vector_BLF, whose test files show all of it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Final

from can_stream.errors import LineError, LogError
from can_stream.logs.formats.binary.blf_books import BlfBooks
from can_stream.logs.formats.binary.blf_contents import Contents, Part, State, even_pieces, unpack
from can_stream.logs.formats.binary.blf_objects import (
    BASE_BYTES,
    CONTAINER,
    MARGIN,
    MAX_PADDING,
    SIGNATURE,
    walk,
)
from can_stream.logs.forward_bytes import ForwardBytes
from can_stream.logs.local_dates import local_ns
from can_stream.logs.log_blocks import BLOCK_BYTES, ParsedBlock

MAGIC: Final = b"LOGG"
_MAX_HEADER_BYTES: Final = 64 * 1024
# At 4 its size; at 32 the number of objects, and behind four bytes more the SYSTEMTIME of the start.
_HEADER: Final = struct.Struct("<4sL24xL4x8H16x")
_BASE: Final = struct.Struct("<4sHHLL")
# Behind that: the method, 6 bytes, the unpacked size, 4 bytes.
_CONTAINER_BYTES: Final = 16
_STORED, _DEFLATED = 0, 2
_FIRST_YEAR: Final = 1900
_MILLIS_PER_SECOND: Final = 1000
_NS_PER_MILLI: Final = 1_000_000
# Several containers are looked at together, if they are there: much of the time goes by their number.
_BLOCKS: Final = 16
_TOGETHER_BYTES: Final = 512 * 1024
_WITHIN_CONTAINER: Final = "the file ends within a container"
_WITHIN_OBJECT: Final = "the file ends within an object"
_WITHIN_HEADER: Final = "the file ends within its header"
_DAMAGES: Final = {
    State.BROKEN_OFF: "a container's data are not whole: it is left out",
    State.DAMAGED: "a container's data are damaged: it is left out",
    State.TOO_LARGE: "a container's data are larger than any has: it is left out",
}


class BlfLog:
    """A `LogSource` of BLF. Raises `LogError` for what does not begin as one; an empty file has no frames."""

    def __init__(self, path: PurePath, read: Callable[[int], bytes], block_bytes: int = BLOCK_BYTES) -> None:
        self._bytes: Final = ForwardBytes(read, block_bytes * _BLOCKS)
        if self._bytes.need(len(MAGIC)) and self._bytes.peek(len(MAGIC)) != MAGIC:
            raise LogError(path, f"not a BLF log: it does not begin with {MAGIC.decode()}")
        self._books: Final = BlfBooks()
        self._contents = Contents()
        self._parts: list[Part] = []
        self._held = 0
        # Why nothing behind can be read, once it is known.
        self._stop: str | None = None
        self._lost_end = -1

    @property
    def channels(self) -> list[str]:
        """Channel names in order of first appearance: channel 1 of the file, and 0, is `can0`."""
        return self._books.names.names

    def blocks(self) -> Iterator[ParsedBlock]:
        """A block for each container, or piece of it; what is damaged is named and left out."""
        if not self._bytes.need(1):
            self._bytes.end()
            return
        yield from self._header()
        while self._stop is None:
            yield from self._next()
        yield from self._end_of_objects()
        self._bytes.end()
        if self._stop:
            yield self._books.damage(self._stop, self._bytes.offset, is_cut=True)
        elif (block := self._books.end()) is not None:
            yield block

    def _end_of_objects(self) -> Iterator[ParsedBlock]:
        yield from self._flush()
        if self._contents.is_within_object():
            self._stop = self._stop or _WITHIN_OBJECT

    def _further_log(self) -> Iterator[ParsedBlock]:
        """The header of a log that was joined to the one before, which ends here."""
        yield from self._end_of_objects()
        if self._stop:
            yield self._books.damage(self._stop, self._bytes.offset, is_cut=True)
        elif (block := self._books.end()) is not None:
            yield block
        self._stop, self._contents = None, Contents()
        yield self._books.further()
        yield from self._header()

    def _header(self) -> Iterator[ParsedBlock]:
        if not self._bytes.need(_HEADER.size):
            self._stop = _WITHIN_HEADER
            return
        _, size, promised, *start = _HEADER.unpack(self._bytes.peek(_HEADER.size))
        if not _HEADER.size <= size <= _MAX_HEADER_BYTES:
            yield from self._damaged(f"the header says that it has {size} bytes, which none has")
            return
        self._books.start_ns, self._books.is_local = 0, False
        if any(start):
            start_ns = _start_ns(start)
            self._books.start_ns, self._books.is_local = start_ns or 0, start_ns is not None
            if start_ns is None:
                yield self._books.damage(
                    "the date in the header is none: times count from 0", self._bytes.offset
                )
        self._books.promised = promised
        end = self._bytes.offset + size
        self._bytes.skip(size)
        if self._bytes.offset < end:
            self._stop = _WITHIN_HEADER

    def _next(self) -> Iterator[ParsedBlock]:
        """The next container, or the objects up to it."""
        head = self._bytes.peek(MAX_PADDING + BASE_BYTES)
        begin = _container_begin(head)
        if begin is not None:
            self._bytes.drop(begin)
            if self._held >= _TOGETHER_BYTES or self._bytes.available < _size_at(head[begin:]):
                yield from self._flush()
            yield from self._container()
            return
        if (begin := _log_begin(head)) is not None:
            self._bytes.drop(begin)
            yield from self._further_log()
            return
        yield from self._flush()
        found = walk(self._bytes.peek(self._bytes.available) + MARGIN, stop_at_containers=True)
        if len(found.objects):
            yield self._books.block(found.objects, self._bytes.offset.__add__)
        self._bytes.drop(found.used)
        if found.damage is not None:
            if _log_begin(self._bytes.peek(MAX_PADDING + BASE_BYTES)) is None:
                yield from self._damaged(found.damage)
        elif not found.is_container and not self._bytes.more():
            self._stop = _WITHIN_OBJECT if self._bytes.peek(self._bytes.available).strip(b"\0") else ""

    def _container(self) -> Iterator[ParsedBlock]:
        source, place = self._bytes, self._bytes.offset
        if not source.need(BASE_BYTES):
            self._stop = _WITHIN_CONTAINER
            return
        _, header, _, size, _ = _BASE.unpack(source.peek(BASE_BYTES))
        head = header + _CONTAINER_BYTES
        if header < BASE_BYTES or size < head:
            yield from self._damaged(f"a container of {size} bytes is smaller than its header")
            return
        if not source.need(head):
            self._stop = _WITHIN_CONTAINER
            return
        method = int.from_bytes(source.peek(head)[header : header + 2], "little")
        source.drop(head)
        yield from self._unpacked(method, place, place + size)
        if source.offset < place + size:
            self._stop = _WITHIN_CONTAINER if self._lost_end != source.offset else ""

    def _unpacked(self, method: int, place: int, end: int) -> Iterator[ParsedBlock]:
        """What the container holds whose data reach to byte `end`, read up to there.

        Deflated data are handed on when their checksum is right, or where the file breaks off in them.
        """
        source = self._bytes
        pieces = source.pieces(end - source.offset)
        if method == _STORED:
            yield from self._take(pieces, place)
        elif method == _DEFLATED:
            unpacked = unpack(pieces)
            source.skip(end - source.offset)
            is_cut = unpacked.state is State.BROKEN_OFF and source.offset < end
            if unpacked.state is State.WHOLE or is_cut:
                yield from self._take(unpacked.contents, place)
                if unpacked.behind > MAX_PADDING:
                    yield self._books.damage(f"{unpacked.behind} bytes lie behind a container's data", place)
            else:
                yield from self._lost(_DAMAGES[unpacked.state], place)
        else:
            source.skip(end - source.offset)
            yield from self._lost(
                f"a container packed by method {method}, not known here, is left out", place
            )

    def _take(self, contents: Iterable[bytes], place: int) -> Iterator[ParsedBlock]:
        for number, content in enumerate(even_pieces(contents)):
            self._parts.append(Part(content, place, begins=number == 0))
            self._held += len(content)
            if number:
                yield from self._flush()

    def _flush(self) -> Iterator[ParsedBlock]:
        """All objects of what is held."""
        parts, self._parts, self._held = self._parts, [], 0
        for found in self._contents.take(parts) if parts else ():
            if len(found.walk.objects):
                yield self._books.block(found.walk.objects, found.place)
            if found.walk.damage is not None:
                reason = f"{found.walk.damage}: the rest of its container is left out"
                yield self._books.damage(reason, found.place(found.walk.used))

    def _lost(self, reason: str, place: int) -> Iterator[ParsedBlock]:
        yield from self._flush()
        self._contents.lose()
        self._lost_end = self._bytes.offset
        yield self._books.damage(reason, place)

    def _damaged(self, reason: str) -> Iterator[ParsedBlock]:
        """Nothing tells where the next object begins. Behind a lost container that is the same damage."""
        self._stop = ""
        if self._bytes.offset != self._lost_end:
            yield self._books.damage(f"{reason}: nothing behind it is read", self._bytes.offset, is_cut=True)


def _container_begin(head: bytes) -> int | None:
    """Where a container begins, if one is what comes next."""
    begin = head.find(SIGNATURE, 0, MAX_PADDING + len(SIGNATURE))
    kind = head[begin + 12 : begin + BASE_BYTES]
    return begin if begin >= 0 and kind == CONTAINER.to_bytes(4, "little") else None


def _log_begin(head: bytes) -> int | None:
    """Where another log begins, if one is what comes next."""
    begin = head.find(MAGIC, 0, MAX_PADDING + len(MAGIC))
    return begin if begin >= 0 and not head[:begin].strip(b"\0") else None


def _size_at(head: bytes) -> int:
    """The size of the object that begins there."""
    return int.from_bytes(head[8:12], "little")


def _start_ns(start: list[int]) -> int | None:
    """Nanoseconds of a SYSTEMTIME in local time, None where it is none; its day of the week says nothing."""
    year, month, _, day, hour, minute, second, millisecond = start
    # SYSTEMTIME begins in 1601, which no recorder means.
    if year < _FIRST_YEAR or millisecond >= _MILLIS_PER_SECOND:
        return None
    try:
        return local_ns(year, month, day, hour, minute, second) + millisecond * _NS_PER_MILLI
    except LineError:
        return None
