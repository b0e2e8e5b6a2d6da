"""CANFD lines of a Vector ASC log in columns: words stand where a line before has them, those behind the
data as far behind them.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.frames.batches import CLASSIC_DATA_BYTES, FD_DATA_BYTES, FrameBatch
from can_stream.logs.formats.asc_text.fields import Numbers, fd_meaning, payloads
from can_stream.logs.formats.asc_text.usual_fields import (
    BLANK,
    HEX_WIDTH,
    Pattern,
    StampPlace,
    are_alike,
    buses_at,
    left_identifiers,
    pattern_of,
    right_identifiers,
    right_number,
    sent_flags,
)
from can_stream.logs.formats.asc_text.words import Heads, WideText
from can_stream.text.text_columns import Mask, Positions

_LINE: Final = re.compile(
    rb"( {0,7}\d{1,8}[.,])(\d{1,8}) +CANFD +(\d{1,2}) +([RT])x( +)([0-9A-Fa-f]{1,8}[xX]?) "
    rb"(?: *[!-~]{2,} +| *)([01]) [01] ([0-9A-Fa-f]) +(\d{1,2}) "
)
_TAIL: Final = re.compile(rb" *[!-~]+( )+[!-~]+ +[0-9A-Fa-f]{1,8} ")
_WORD_OF_TAIL: Final = re.compile(rb"[!-~]+")
_WIDEST: Final = 128
_WIDEST_TAIL: Final = 40
# Characters of the tail that are looked at, as many as an integer has bits.
_FEW_IN_TAIL: Final = 32
_MOST_IN_TAIL: Final = 64
_MOST_DIGITS: Final = 8
_HEX_DIGITS: Final = np.full(256, 0x80, np.uint8)
_HEX_DIGITS[list(b"0123456789abcdef")] = range(16)
_HEX_DIGITS[list(b"ABCDEF")] = range(10, 16)
_TENS: Final = np.full(256, 0x80, np.uint8)
_TENS[list(b"0123456789")] = range(0, 100, 10)
_TENS[BLANK] = 0


class FdLayout(Struct, frozen=True):
    """Where words stand, counted from the beginning of a line; `tail_ends` from the end of the data.

    `identifier`: where it begins, or where it ends if it is right-aligned. `name_begin`: the blank before
    the place for a name. `switch`: BRS; ESI and the length code stand two and four places behind it.
    """

    stamp: StampPlace
    channel: tuple[int, int]
    direction: int
    identifier: int
    is_right: bool
    name_begin: int
    switch: int
    length_end: int
    has_tens: bool
    tail_ends: tuple[int, int, int]
    patterns: tuple[Pattern, ...]
    nameless: tuple[Pattern, ...]

    def heads(self, wide: WideText, start: Positions, ok: Mask) -> Heads | None:
        """What is looked at before the data, all as if no identifier were longer than its field."""
        width = self.length_end + 8
        if not self.is_right:
            return Heads.of(wide, start, width, ok)
        # python-can has fields of eight characters: `18DAF110x` moves all that is behind it by one.
        chars = wide.text.chars
        long = np.flatnonzero(chars.take(start + self.identifier, mode="clip") != BLANK)
        if not len(long):
            return Heads.of(wide, start, width, ok)
        moved = start.copy()
        moved[long] += 1
        heads = Heads.of(wide, moved, width, ok)
        field = self.identifier - HEX_WIDTH
        before = Heads.of(wide, start[long], field, np.ones(len(long), np.bool_))
        if heads is not None and before is not None:
            ok[long] &= chars.take(start[long] + field, mode="clip") == BLANK
            heads.begin_with(long, before)
        return heads

    def read(
        self, wide: WideText, heads: Heads, end: Positions
    ) -> tuple[Mask, FrameBatch, NDArray[np.uint8]]:
        """Which of these lines are laid out so, their frames (the time is the stamp) and their buses."""
        start, ok = heads.at, np.ones(len(heads), np.bool_)
        stamp = self.stamp.read(heads, ok)
        bus = buses_at(heads, self.channel, ok)
        identifiers = right_identifiers if self.is_right else left_identifiers
        identifier, flags = identifiers(heads, self.identifier, ok)
        flags |= sent_flags(heads, self.direction, ok)
        named = np.flatnonzero(~are_alike(heads, self.nameless))
        if len(named):
            ok[named] &= _are_names(wide, start[named] + self.name_begin, self.switch - self.name_begin)
        switch, code, length = self._numbers(heads, ok)
        width = FD_DATA_BYTES if (length > CLASSIC_DATA_BYTES).any() else CLASSIC_DATA_BYTES
        data, _ = payloads(wide, start + (self.length_end + 1), length, end, width, ok)
        behind = start + (self.length_end + np.maximum(3 * length, 1))
        said = self._said(wide, behind, end, ok)
        more, shown_length = fd_meaning(said, switch, code, length, ok)
        return ok, FrameBatch(stamp, identifier, flags | more, shown_length, data), bus

    def _numbers(self, heads: Heads, ok: Mask) -> tuple[Numbers, Numbers, Numbers]:
        """Whether BRS or ESI is set, length code and length."""
        switch = heads.digit(self.switch) | heads.digit(self.switch + 2)
        code = _HEX_DIGITS[heads.character(self.switch + 4)]
        length = heads.digit(self.length_end - 1)
        ok &= (switch <= 1) & (code <= 15) & (length <= 9)
        if self.has_tens:
            # A blank is as good as a 0 there.
            tens = _TENS[heads.character(self.length_end - 2)]
            ok &= tens <= 90
            length = length + tens
        ok &= length <= FD_DATA_BYTES
        return (
            switch.astype(np.int64),
            (code & 15).astype(np.int64),
            np.minimum(length, FD_DATA_BYTES).astype(np.int64),
        )

    def _said(self, wide: WideText, behind: Positions, end: Positions, ok: Mask) -> NDArray[np.uint32]:
        """The flags column: the third of three words that end where they do in all lines."""
        _, second, third = self.tail_ends
        # The line goes on behind the blank behind the third.
        ok &= behind + third < end
        before = max(_MOST_DIGITS - third, 0)
        width = _FEW_IN_TAIL if before + third + 2 <= _FEW_IN_TAIL else _MOST_IN_TAIL
        tail = wide.pieces(behind - before, width, ok)
        # A bit for each character: what is one of a word, the last one of a word, or none that is usual.
        bits = np.dtype(f"<u{width // 8}")
        printed = np.packbits(tail > BLANK, bitorder="little").view(bits)
        control = np.packbits(tail < BLANK, bitorder="little").view(bits)
        lasts = sum(1 << before + end_of_word - 1 for end_of_word in self.tail_ends)
        looked_at = (1 << third + 1) - 1 << before
        differ = (printed & ~(printed >> bits.type(1))) ^ bits.type(lasts) | control
        ok &= differ & bits.type(looked_at) == 0
        text = tail[:, before + third - _MOST_DIGITS :][:, :_MOST_DIGITS].view(np.uint64)[:, 0]
        return right_number(text, min(third - second, _MOST_DIGITS), ok)


def find_fd_layout(line: bytes) -> FdLayout | None:
    """The layout of `line`, None where it is not a CANFD line with data that has one."""
    match = _LINE.match(line)
    if match is None or match.end() > _WIDEST:
        return None
    tail_ends = _tail_ends(line, match.end(9) + max(3 * int(match[9]), 1))
    is_right = len(match[5]) > 1
    identifier = match.end(6) if is_right else match.start(6)
    field = (identifier - HEX_WIDTH, identifier) if is_right else (identifier, identifier + HEX_WIDTH)
    direction, switch, length_end = match.start(4), match.start(7), match.end(9)
    is_in_place = direction + 2 <= field[0] and field[1] + 1 <= switch and match.start(8) == switch + 4
    if tail_ends is None or not is_in_place:
        return None
    has_tens = length_end - 2 > switch + 5
    digits = [(switch + place, switch + place + 1) for place in (0, 2, 4)]
    free = [(0, match.end(2)), match.span(3), match.span(4), field, (field[1] + 1, switch - 1), *digits]
    return FdLayout(
        StampPlace(match.end(1) - 1, match.end(2) - match.start(2)),
        match.span(3),
        direction,
        identifier,
        is_right,
        field[1],
        switch,
        length_end,
        has_tens,
        tail_ends,
        pattern_of(line, length_end + 1, [*free, (length_end - 1 - has_tens, length_end)]),
        pattern_of(b" " * switch, switch, [(0, field[1])]),
    )


def _tail_ends(line: bytes, begin: int) -> tuple[int, int, int] | None:
    match = _TAIL.match(line, begin)
    if match is None or match.end() - begin > _WIDEST_TAIL:
        return None
    ends = [word.end() - begin for word in _WORD_OF_TAIL.finditer(line, begin, match.end())]
    return (ends[0], ends[1], ends[2]) if len(ends) == 3 else None


def _are_names(wide: WideText, begin: Positions, width: int) -> Mask:
    """Where one word of some characters stands with blanks around it; a single one may be a number."""
    ok = np.ones(len(begin), np.bool_)
    place = wide.pieces(begin, width, ok)
    inside = place != BLANK
    begins = inside[:, 1:] & ~inside[:, :-1]
    ok &= (begins.sum(axis=1, dtype=np.uint8) == 1) & (inside.sum(axis=1, dtype=np.uint8) > 1)
    ok &= ~(place < BLANK).any(axis=1)
    return ok
