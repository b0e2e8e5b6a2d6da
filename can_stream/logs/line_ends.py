"""Line ends of a text: LF and CR LF stay, a lone CR (what Excel's "CSV (Macintosh)" writes) becomes LF.

Byte order marks within it, where texts that have one were joined, are left out.

Pure: the file's `read` is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import numpy as np

_RETURN, _FEED = b"\r\n"
_LONE: Final = re.compile(rb"\r(?![\r\n])")
# The byte order mark of UTF-8.
_MARK: Final = b"\xef\xbb\xbf"
# What follows says what they are.
_BEGUN: Final = (b"\r", _MARK[:1], _MARK[:2])


def with_line_feeds(text: bytes) -> bytes:
    """`text` with LF for each CR that no other line end follows."""
    return _LONE.sub(b"\n", text) if b"\r" in text and _has_lone(text) else text


def _has_lone(text: bytes) -> bool:
    """Most texts with a CR have CR LF in every line: these are told at a glance."""
    characters = np.frombuffer(text, np.uint8)
    is_return, is_feed = characters == _RETURN, characters == _FEED
    return bool(is_return[-1]) or bool((is_return[:-1] > is_feed[1:]).any())


class LineEnds:
    """Text in pieces whose lines end with LF, as `read` of a file gives it."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read: Final = read
        self._kept = b""

    def read(self, size: int) -> bytes:
        """About `size` bytes, b"" at the end. Raises what the file's `read` does."""
        text = b""
        while not text and (piece := self._piece(size)):
            text = with_line_feeds(piece)
            if _MARK[:1] in text:  # one byte is looked for much faster than three
                text = text.replace(_MARK, b"")
        return text

    def _piece(self, size: int) -> bytes:
        piece = self._kept + self._read(size)
        while piece in _BEGUN and (more := self._read(size)):
            piece += more
        is_last = piece in _BEGUN
        self._kept = b"" if is_last else next((begun for begun in _BEGUN if piece.endswith(begun)), b"")
        return piece.removesuffix(self._kept)
