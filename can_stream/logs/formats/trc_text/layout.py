"""How the regular lines of a PEAK trace are laid out, as learned from a line that was read before.

A trace is a table of fixed columns for as long as its numbers have as many digits. A `Layout` says where a
line's number, time offset, identifier, length and data stand; all else is text that must be the same as in
the line it was learned from, and so means the same: `Variant`.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct, field

from can_stream.frames.batches import FrameFlag
from can_stream.logs.formats.trc_text.header import TrcColumns
from can_stream.logs.log_blocks import Row

WORD: Final = 8
SPACE: Final = 0x40
OTHER: Final = 0x80
_HEX: Final = b"0123456789ABCDEFabcdef"
# Digits by their value, the blank, and all other characters of ASCII by numbers of their own.
CODES: Final = bytes(
    int(chr(code), 16) if code in _HEX else SPACE if code == ord(" ") else OTHER | min(code, 0x7F)
    for code in range(256)
)
# Characters before the data; a line that has more is not regular.
_MOST_BEFORE_DATA: Final = 128
_TOKEN: Final = re.compile(rb"\S+")
_REGULAR: Final = re.compile(rb"[0-9A-Fa-f]{2}(?: [0-9A-Fa-f]{2})*\s*")
_FRACTION: Final = re.compile(rb"(\d{1,8})(?:[.,](\d{1,6}))?")


class Variant(Struct, frozen=True):
    """What the text around the numbers of a line is, as words, and what it means."""

    text: tuple[int, ...]
    flags: int
    channel: int
    is_fd: bool


class Place(Struct, frozen=True):
    """Where the fields of a line stand, as (begin, end) from where it begins; of `data`: the begin."""

    number: tuple[int, int] | None
    whole: tuple[int, int]
    decimals: int
    identifier: tuple[int, int]
    length: tuple[int, int]
    data: int

    def masks(self) -> tuple[int, ...]:
        """For each eight characters before the data, which of them are text."""
        text = bytearray(b"\xff" * self.data).ljust(-(-self.data // WORD) * WORD, b"\0")
        fraction = (self.whole[1] + 1, self.whole[1] + 1 + self.decimals)
        for begin, end in (self.number or (0, 0), self.whole, fraction, self.identifier, self.length):
            text[begin:end] = bytes(end - begin)
        return _words(bytes(text))


class Layout(Struct):
    """One way in which lines are laid out, and the variants of it that were seen."""

    place: Place
    is_code: bool
    masks: tuple[int, ...]
    variants: list[Variant] = field(default_factory=list)


def _words(text: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(text[at : at + WORD], "little") for at in range(0, len(text), WORD))


def place_of(line: bytes, columns: TrcColumns) -> Place | None:
    """Where the fields of a data frame's line stand; None where it is not regular."""
    spans = [match.span() for match in _TOKEN.finditer(line)]
    if len(spans) <= columns.data or _REGULAR.fullmatch(line, spans[columns.data][0]) is None:
        return None
    offset = spans[columns.time]
    decimal_text = _FRACTION.fullmatch(line, *offset)
    number = None if columns.number is None else spans[columns.number]
    if number is not None:
        number = (number[0], number[1] - line[slice(*number)].endswith(b")"))
    data = spans[columns.data][0]
    if decimal_text is None or data > _MOST_BEFORE_DATA or (number and number[1] - number[0] > WORD):
        return None
    after = {index: spans[index - 1][1] + 1 if index else 0 for index in range(len(spans))}
    return Place(
        number=number and (max(after[columns.number or 0], number[1] - WORD), number[1]),
        whole=_window(after[columns.time], decimal_text.end(1)),
        decimals=len(decimal_text[2] or b""),
        identifier=_window(after[columns.identifier], spans[columns.identifier][1]),
        length=spans[columns.length],
        data=data,
    )


def _window(begin: int, end: int) -> tuple[int, int]:
    """The last eight characters of a right-aligned field."""
    return max(begin, end - WORD), end


def variant_of(line: bytes, row: Row, channel: int, layout: Layout) -> Variant:
    """What the line says that was read as `row`."""
    _, _, _, flags, _, _ = row
    words = _words(line[: layout.place.data].translate(CODES))
    text = tuple(word & mask for word, mask in zip(words, layout.masks, strict=True))
    is_fd = bool(flags & FrameFlag.FD)
    return Variant(text, flags & ~FrameFlag.EXTENDED, channel, is_fd)
