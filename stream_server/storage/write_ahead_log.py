"""The log beside a SQLite file: pages that were committed and are not in the file yet. Pure.

https://www.sqlite.org/fileformat2.html, section 4: frames count up to the last one that ends a commit, as
long as their salts are those of the header and the running checksum fits.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

_MAGIC: Final = 0x377F0682
_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_MASK: Final = 0xFFFFFFFF
_COMMITS_BEHIND: Final = 2


class _Frame(NamedTuple):
    """A page in the log, where it begins, whether a commit ends with it, and whether it fits its sums."""

    number: int
    at: int
    is_commit: bool
    is_whole: bool


def committed_pages(log: bytes) -> dict[int, int]:
    """Page numbers of the committed pages, with where each begins in `log`; nothing of what is no log.

    A frame that has changed is left out, and what was committed behind it counts all the same.
    """
    committed: dict[int, int] = {}
    pending: dict[int, int] = {}
    frames = list(_frames(log))
    goes_on = _is_broken(frames)
    for frame in frames:
        if frame.is_whole:
            pending[frame.number] = frame.at
        elif not goes_on:
            break
        if frame.is_whole and frame.is_commit:
            committed.update(pending)
            pending = {}
    return committed


def is_broken(log: bytes) -> bool:
    """Whether something was committed behind a frame that has changed since.

    SQLite ends there, and forgets the rest without a word. A power cut tears no commit but the last: each is
    synced before the next begins, so that two from a frame on say that it once was whole.
    """
    return _is_broken(_frames(log))


def _is_broken(frames: Iterable[_Frame]) -> bool:
    behind, is_torn = 0, False
    for frame in frames:
        is_torn |= not frame.is_whole
        behind += is_torn and frame.is_commit
    return behind >= _COMMITS_BEHIND


def _frames(log: bytes) -> Iterator[_Frame]:
    """All that stand in the log. What follows a damaged one is known by the sums that stand in that."""
    if len(log) < _HEADER.size:
        return
    magic, _version, page_bytes, _count, *salts, first, second = _HEADER.unpack_from(log)
    if magic & ~1 != _MAGIC or not 512 <= page_bytes <= 65536:
        return
    is_big = bool(magic & 1)
    sums = _checksum(log[: _HEADER.size - 8], is_big, (0, 0))
    if sums != (first, second):
        return
    for place in range(_HEADER.size, len(log) - _FRAME.size - page_bytes + 1, _FRAME.size + page_bytes):
        number, commit, *frame_salts, first, second = _FRAME.unpack_from(log, place)
        at = place + _FRAME.size
        # A frame of other salts is of the log's round before.
        is_whole = is_of_this = frame_salts == salts
        if is_of_this:
            sums = _checksum(log[place : place + 8] + log[at : at + page_bytes], is_big, sums)
            is_whole = sums == (first, second)
        yield _Frame(number, at, is_of_this and bool(commit), is_whole)
        sums = (first, second)


def _checksum(data: bytes, is_big: bool, sums: tuple[int, int]) -> tuple[int, int]:
    words = array("I", data)
    if is_big != (sys.byteorder == "big"):
        words.byteswap()
    first, second = sums
    for at in range(0, len(words) - 1, 2):
        first = (first + words[at] + second) & _MASK
        second = (second + words[at + 1] + first) & _MASK
    return first, second
