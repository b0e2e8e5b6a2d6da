"""What BLF containers hold: unpacked in bounded steps, and joined, for objects lie across them."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import accumulate
from typing import Final

from msgspec import Struct

from can_stream.logs.formats.binary.blf_objects import MARGIN, Walk, first_object, walk

MAX_UNPACKED_BYTES: Final = 64 * 1024 * 1024
_STEP_BYTES: Final = 256 * 1024


class State(Enum):
    """How the data of a container end."""

    WHOLE = 1
    BROKEN_OFF = 2
    DAMAGED = 3
    TOO_LARGE = 4


class Unpacked(Struct, frozen=True):
    """What came of a container's data; `behind`: how many bytes lie behind their end."""

    contents: list[bytes]
    state: State
    behind: int = 0


def unpack(pieces: Iterable[bytes]) -> Unpacked:
    """Unpack zlib's data (RFC 1950), which end with a checksum. Takes all pieces unless it fails."""
    engine = zlib.decompressobj()
    contents: list[bytes] = []
    total = behind = 0
    for piece in pieces:
        if engine.eof:
            behind += len(piece)
            continue
        waiting, is_full = piece, True
        while (waiting or is_full) and not engine.eof:
            try:
                content = engine.decompress(waiting, _STEP_BYTES)
            except zlib.error:
                return Unpacked([], State.DAMAGED)
            waiting, is_full = engine.unconsumed_tail, len(content) == _STEP_BYTES
            contents.append(content)
            total += len(content)
            if total > MAX_UNPACKED_BYTES:
                return Unpacked([], State.TOO_LARGE)
        behind = len(engine.unused_data)
    return Unpacked(contents, State.WHOLE if engine.eof else State.BROKEN_OFF, behind)


def even_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of one size, so that what is found does not depend on how a file is read."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _STEP_BYTES:
            whole = b"".join(held)
            cut = size - size % _STEP_BYTES
            yield from (whole[at : at + _STEP_BYTES] for at in range(0, cut, _STEP_BYTES))
            held, size = [whole[cut:]], size - cut
    if size:
        yield b"".join(held)


class Part(Struct, frozen=True):
    """Some of what the container at byte `place` of the file holds; `begins`: the first of it."""

    content: bytes
    place: int
    begins: bool


class Found(Struct, frozen=True):
    """The objects that are whole with some parts, and where each part begins among their bytes."""

    walk: Walk
    begins: list[int]
    parts: list[Part]

    def place(self, at: int) -> int:
        """Where the container lies in whose content byte `at` is."""
        return self.parts[max(bisect_right(self.begins, at) - 1, 0)].place


class Contents:
    """The contents of containers, one after another, and what of the last object has come so far.

    Where something is damaged the rest of its container is left out; what follows begins at the first object
    that another one follows.
    """

    def __init__(self) -> None:
        self._begun = b""
        self._is_dropped = False
        self._is_sought = False

    def lose(self) -> None:
        """The container that comes now cannot be used, from here on."""
        self._begun, self._is_dropped, self._is_sought = b"", True, False

    def take(self, parts: list[Part]) -> Iterator[Found]:
        """What is whole with these parts: at once where all is sound, else part for part."""
        if not self._is_dropped and not self._is_sought:
            begun = self._begun
            found = self._walk(parts)
            if found.walk.damage is None or len(parts) == 1:
                yield found
                return
            self._begun, self._is_dropped = begun, False
        for part in parts:
            yield from self._take_one(part)

    def _take_one(self, part: Part) -> Iterator[Found]:
        if part.begins:
            self._is_sought |= self._is_dropped
            self._is_dropped = False
        if self._is_dropped:
            return
        if self._is_sought:
            place = first_object(part.content + MARGIN)
            if place is None:
                return
            part, self._is_sought = Part(part.content[place:], part.place, False), False
        yield self._walk([part])

    def _walk(self, parts: list[Part]) -> Found:
        content = b"".join((self._begun, *(part.content for part in parts), MARGIN))
        sizes = (len(self._begun), *(len(part.content) for part in parts[:-1]))
        found = walk(content)
        self._begun = content[found.used : -len(MARGIN)]
        if found.damage is not None:
            self.lose()
        return Found(found, list(accumulate(sizes)), parts)

    def is_within_object(self) -> bool:
        """Whether more would have to come: what is left is no padding."""
        return bool(self._begun.strip(b"\0"))
