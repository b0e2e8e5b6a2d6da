"""The log beside a SQLite file: pages that were committed and are not in the file yet. Pure.

https://www.sqlite.org/fileformat2.html, section 4: frames count up to the last one that ends a commit, as
long as their salts are those of the header and the running checksum fits.
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import Final

_MAGIC: Final = 0x377F0682
_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_MASK: Final = 0xFFFFFFFF


def committed_pages(log: bytes) -> dict[int, int]:
    """Page numbers of the committed pages, with where each begins in `log`; nothing of what is no log."""
    if len(log) < _HEADER.size:
        return {}
    magic, _version, page_bytes, _count, *salts, first, second = _HEADER.unpack_from(log)
    if magic & ~1 != _MAGIC or not 512 <= page_bytes <= 65536:
        return {}
    is_big = bool(magic & 1)
    sums = _checksum(log[: _HEADER.size - 8], is_big, (0, 0))
    if sums != (first, second):
        return {}
    committed: dict[int, int] = {}
    pending: dict[int, int] = {}
    for place in range(_HEADER.size, len(log) - _FRAME.size - page_bytes + 1, _FRAME.size + page_bytes):
        number, commit, *frame_salts, first, second = _FRAME.unpack_from(log, place)
        at = place + _FRAME.size
        sums = _checksum(log[place : place + 8] + log[at : at + page_bytes], is_big, sums)
        if frame_salts != salts or sums != (first, second):
            break
        pending[number] = at
        if commit:
            committed.update(pending)
            pending = {}
    return committed


def _checksum(data: bytes, is_big: bool, sums: tuple[int, int]) -> tuple[int, int]:
    words = array("I", data)
    if is_big != (sys.byteorder == "big"):
        words.byteswap()
    first, second = sums
    for at in range(0, len(words) - 1, 2):
        first = (first + words[at] + second) & _MASK
        second = (second + words[at + 1] + first) & _MASK
    return first, second
