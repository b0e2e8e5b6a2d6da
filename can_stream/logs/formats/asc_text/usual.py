"""Lines of a Vector ASC log in columns, as CANoe writes them: words stand where a line before has them."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.frames.batches import CLASSIC_DATA_BYTES, FrameBatch
from can_stream.logs.formats.asc_text.fields import ends_at, leave_names, payloads
from can_stream.logs.formats.asc_text.usual_fields import (
    BLANK,
    DECIMAL_WIDTH,
    HEX_WIDTH,
    Pattern,
    StampPlace,
    buses_at,
    decimal_identifiers,
    left_identifiers,
    pattern_of,
    sent_flags,
)
from can_stream.logs.formats.asc_text.words import Heads, WideText
from can_stream.text.decimal_bytes import decimal_bytes
from can_stream.text.text_columns import Mask, Positions

_LINE: Final = re.compile(
    rb"( {0,7}\d{1,8}[.,])(\d{1,8}) +(\d{1,2}) +([0-9A-Fa-f]{1,9}[xX]?) +([RT])x +[dD] +([0-8]) ( *)[^ ]"
)
_WIDEST: Final = 96


class Layout(Struct, frozen=True):
    """Where words stand, counted from the beginning of a line, and what else is the same in all lines."""

    is_decimal: bool
    stamp: StampPlace
    channel: tuple[int, int]
    identifier: int
    direction: int
    length: int
    patterns: tuple[Pattern, ...]

    def heads(self, wide: WideText, start: Positions, ok: Mask) -> Heads | None:
        """What is looked at before the data."""
        return Heads.of(wide, start, self.length + 16, ok)

    def read(
        self, wide: WideText, heads: Heads, end: Positions
    ) -> tuple[Mask, FrameBatch, NDArray[np.uint8]]:
        """Which of these lines are laid out so, their frames (the time is the stamp) and their buses."""
        start, ok = heads.at, np.ones(len(heads), np.bool_)
        stamp = self.stamp.read(heads, ok)
        bus = buses_at(heads, self.channel, ok)
        if self.is_decimal:
            identifier, flags = decimal_identifiers(heads, self.identifier, ok)
        else:
            identifier, flags = left_identifiers(heads, self.identifier, ok)
            leave_names(wide, start + self.identifier, identifier, flags, ok)
        flags |= sent_flags(heads, self.direction, ok)
        value = heads.digit(self.length)
        ok &= value <= CLASSIC_DATA_BYTES
        # Behind the length of a frame without data the line may end.
        ok &= (heads.character(self.length + 1) == BLANK) | (start + self.length + 1 == end)
        length = np.minimum(value, CLASSIC_DATA_BYTES).astype(np.int64)
        at = start + self.length
        if self.is_decimal:
            data, good = decimal_bytes(wide.text, at + 1, length, end)
            ok &= good
        else:
            data, behind = payloads(wide, at + 2, length, end, CLASSIC_DATA_BYTES, ok)
            ok &= ends_at(wide.text, behind, end)
        return ok, FrameBatch(stamp, identifier, flags, length.astype(np.uint8), data), bus


def find_layout(line: bytes, *, is_decimal: bool = False) -> Layout | None:
    """The layout of `line`, None where it is not a data frame in columns."""
    match = _LINE.match(line)
    id_width = DECIMAL_WIDTH if is_decimal else HEX_WIDTH
    if match is None or match.end() > _WIDEST or match.start(5) <= match.start(4) + id_width:
        return None
    if match[7] and not is_decimal:
        return None
    begin = [match.start(group) for group in range(7)]
    free = [(0, match.end(2)), match.span(3), (begin[4], begin[4] + id_width), match.span(5), match.span(6)]
    patterns = pattern_of(line, match.end(6), free)
    stamp = StampPlace(match.end(1) - 1, match.end(2) - begin[2])
    return Layout(is_decimal, stamp, match.span(3), begin[4], begin[5], begin[6], patterns)
