"""The regular lines of a Vector ASC log in whole columns: data frames in hexadecimal, as CANoe writes them.

Words may stand anywhere in a line; those of the data are two digits each with one space between. What is
not regular is left to `asc_lines`, which reads these lines just the same: the fast way is only faster.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.frames.batches import CLASSIC_DATA_BYTES, FD_DATA_BYTES, FrameBatch
from can_stream.logs.formats.asc_lines import FLAGS_COLUMN
from can_stream.logs.formats.asc_text.fields import (
    Numbers,
    buses,
    digit,
    directions,
    ends_at,
    fd_meaning,
    hexadecimal,
    identifiers,
    leave_names,
    payloads,
    stamps,
    two_digits,
)
from can_stream.logs.formats.asc_text.layouts import FEW_LINES, SAMPLES, Layouts
from can_stream.logs.formats.asc_text.usual import Layout
from can_stream.logs.formats.asc_text.usual_fd import FdLayout
from can_stream.logs.formats.asc_text.usual_fields import are_alike
from can_stream.logs.formats.asc_text.words import WideText, WordWindow
from can_stream.logs.log_blocks import MAX_LINE_BYTES
from can_stream.text.text_columns import MARGIN, Mask, Positions, TextBlock

_CANFD: Final = np.uint64(int.from_bytes(b"CANFD", "little"))
_FIVE_CHARACTERS: Final = np.uint64((1 << 8 * 5) - 1)
# Words before the data: time, channel, identifier, direction, d, length; and of CANFD lines without a name.
_CLASSIC_WORDS: Final = 6
_FD_WORDS: Final = 9
# As wide as these are where CANoe writes them, names of 32 characters among them.
_CLASSIC_HEAD: Final = 56
_FD_HEAD: Final = 120
_FD_TAIL: Final = 40
_FD_COLUMNS: Final = re.compile(rb" [01] [01] [0-9A-Fa-f] +\d{1,2} +")
# `FF `, one place that the window does not see, and a word that is longer by a few characters.
_ONE_BYTE_MORE: Final = 8
# Up to one line in so many.
_FEW: Final = 16


class RegularLines(Struct, eq=False):
    """Columns for lines of a block, valid where `ok`. `frames.timestamp_ns` is the stamp of the line."""

    ok: Mask
    frames: FrameBatch
    bus: NDArray[np.uint8]


class _Lines:
    """Some lines of a block, and their first words."""

    def __init__(self, wide: WideText, begin: Positions, end: Positions, width: int, words: int) -> None:
        self.wide: Final = wide
        self.text: Final = wide.text
        self.line_end: Final = end
        self.words: Final = WordWindow(wide, begin, end, width, words)
        self.ok: Mask = self.words.count >= _CLASSIC_WORDS

    def span(self, number: int) -> tuple[Positions, Positions]:
        """Where the word of this number begins and ends in each line."""
        return self.words.begin[number], self.words.end[number]

    def span_behind(self, number: int, named: Mask) -> tuple[Positions, Positions]:
        """The same of the word behind it in lines that are `named`."""
        (begin, end), (next_begin, next_end) = self.span(number), self.span(number + 1)
        return np.where(named, next_begin, begin), np.where(named, next_end, end)

    def data_begin(self, words: int, length: Numbers, named: Mask | None = None) -> Positions:
        """Where `length` bytes begin behind so many words; one place behind these where there are none.

        Clears `ok` where that cannot be seen.
        """
        (begin, _), (_, end) = self.span(words), self.span(words - 1)
        count = self.words.count
        if named is not None:
            (begin, _), (_, end) = self.span_behind(words, named), self.span_behind(words - 1, named)
            count = count - named
        has_data = length > 0
        self.ok &= count >= words + has_data
        return np.where(has_data, begin, end + 1)


class _Parts:
    """What is read of a block so far: lines that are alike at once. `left`: the numbers of the others."""

    def __init__(self, count: int) -> None:
        self.left = np.arange(count)
        self._count: Final = count
        self._parts: Final[list[tuple[Positions, RegularLines]]] = []

    def add(self, rows: Positions, part: RegularLines) -> None:
        """`part` has the lines with the numbers `rows`."""
        if part.frames.width > CLASSIC_DATA_BYTES:
            # Those that failed may yet be in a narrower part, whose data end before.
            part.frames.data[~part.ok] = 0
        self._parts.append((rows, part))

    def merged(self) -> RegularLines:
        """All lines of the block, in order."""
        if len(self._parts) == 1 and len(self._parts[0][0]) == self._count:
            return self._parts[0][1]
        lines = _no_lines(self._count, max((part.frames.width for _, part in self._parts), default=8))
        for rows, part in self._parts:
            _set_rows(lines, rows, part)
        return lines


def regular_lines(
    text: TextBlock, layouts: Layouts | None = None, *, is_decimal: bool = False
) -> RegularLines:
    """The regular lines of a block, `layouts` those of the log. A few others are left to the reader."""
    wide, layouts, parts = WideText(text), layouts or Layouts(), _Parts(len(text))
    for layout in layouts.known(is_decimal=is_decimal):
        if len(parts.left) < FEW_LINES:
            break
        before = len(parts.left)
        _lay_out(wide, layout, parts)
        if len(parts.left) == before:
            layouts.forget(layout)
    for sample in SAMPLES:
        if len(parts.left) < FEW_LINES:
            break
        line = text.line(int(parts.left[int(len(parts.left) * sample)]))
        if (learned := layouts.learn(line, is_decimal=is_decimal)) is not None:
            _lay_out(wide, learned, parts)
    left = parts.left
    if len(left) * _FEW > len(text) and not is_decimal:
        is_fd = _are_fd(text, left)
        for rows, read in ((left[~is_fd], _classic_lines), (left[is_fd], _fd_lines)):
            if len(rows):
                parts.add(rows, read(wide, text.start[rows], text.end[rows]))
    lines = parts.merged()
    lines.ok &= text.line_feed - text.start <= MAX_LINE_BYTES
    return lines


def _lay_out(wide: WideText, layout: Layout | FdLayout, parts: _Parts) -> None:
    """Read those of the lines that are left that are laid out so."""
    text, left = wide.text, parts.left
    start, ok = text.start[left], np.ones(len(left), np.bool_)
    heads = layout.heads(wide, start, ok)
    if heads is None:
        return
    ok &= are_alike(heads, layout.patterns)
    found = np.flatnonzero(ok)
    if not len(found):
        return
    rows = left
    if len(found) < len(left):
        rows, heads = left.take(found), heads.take(found)
    part = RegularLines(*layout.read(wide, heads, text.end.take(rows)))
    parts.add(rows, part)
    ok[found] = part.ok
    parts.left = left[~ok]


def _no_lines(count: int, width: int) -> RegularLines:
    """So many lines of which none is regular."""
    frames = FrameBatch(
        np.zeros(count, np.int64),
        np.zeros(count, np.uint32),
        np.zeros(count, np.uint8),
        np.zeros(count, np.uint8),
        np.zeros((count, width), np.uint8),
    )
    return RegularLines(np.zeros(count, np.bool_), frames, np.zeros(count, np.uint8))


def _set_rows(lines: RegularLines, rows: Positions, part: RegularLines) -> None:
    """`part` in place of these rows, which may have been those of a narrower part before."""
    frames, more = lines.frames, part.frames
    # By words of eight bytes: single ones take longer.
    frames.data.view(np.uint64)[rows, : more.width // 8] = more.data.view(np.uint64)
    for mine, theirs in (
        (lines.ok, part.ok),
        (lines.bus, part.bus),
        (frames.timestamp_ns, more.timestamp_ns),
        (frames.arbitration_id, more.arbitration_id),
        (frames.flags, more.flags),
        (frames.length, more.length),
    ):
        mine[rows] = theirs


def _are_fd(text: TextBlock, rows: Positions) -> Mask:
    """Whether `CANFD` stands where it does in the first line that has it; elsewhere it is not regular."""
    found = text.raw.find(b"CANFD")
    if found < 0:
        return np.zeros(len(rows), np.bool_)
    begin = int(text.start[np.searchsorted(text.start, found, side="right") - 1])
    word = text.text(np.minimum(text.start[rows] + (found - begin), len(text.chars) - MARGIN))
    is_fd: Mask = (word & _FIVE_CHARACTERS) == _CANFD
    return is_fd


def _classic_lines(wide: WideText, begin: Positions, end: Positions) -> RegularLines:
    lines = _Lines(wide, begin, end, _CLASSIC_HEAD, _CLASSIC_WORDS + 1)
    text, ok = lines.text, lines.ok
    stamp = stamps(text, *lines.span(0), ok)
    bus = buses(text, *lines.span(1), ok)
    identifier, flags = identifiers(text, *lines.span(2), ok)
    leave_names(wide, lines.words.begin[2], identifier, flags, ok)
    flags |= directions(text, *lines.span(3), ok)
    letter, letter_end = lines.span(4)
    ok &= (letter_end - letter == 1) & (text.chars[letter] | 0x20 == ord("d"))
    length = digit(text, *lines.span(5), CLASSIC_DATA_BYTES, ok)
    at = lines.data_begin(_CLASSIC_WORDS, length)
    data, behind = payloads(wide, at, length, end, CLASSIC_DATA_BYTES, ok)
    ok &= ends_at(text, behind, end)
    return RegularLines(ok, FrameBatch(stamp, identifier, flags, length.astype(np.uint8), data), bus)


def _fd_lines(wide: WideText, begin: Positions, end: Positions) -> RegularLines:
    lines = _Lines(wide, begin, end, _fd_head(wide.text, begin, end), _FD_WORDS + 2)
    text, ok = lines.text, lines.ok
    stamp = stamps(text, *lines.span(0), ok)
    word, word_end = lines.span(1)
    ok &= (word_end - word == 5) & ((text.text(word) & _FIVE_CHARACTERS) == _CANFD)
    bus = buses(text, *lines.span(2), ok)
    flags = directions(text, *lines.span(3), ok)
    identifier, extended = identifiers(text, *lines.span(4), ok)
    word, word_end = lines.span(5)
    named = (word_end - word != 1) | (text.chars[word] & 0xFE != ord("0"))
    switch = digit(text, *lines.span_behind(5, named), 1, ok) | digit(
        text, *lines.span_behind(6, named), 1, ok
    )
    code = digit(text, *lines.span_behind(7, named), 15, ok)
    length = np.minimum(two_digits(text, *lines.span_behind(8, named), ok), FD_DATA_BYTES)
    width = FD_DATA_BYTES if (length > CLASSIC_DATA_BYTES).any() else CLASSIC_DATA_BYTES
    at = lines.data_begin(_FD_WORDS, length, named)
    data, behind = payloads(wide, at, length, end, width, ok)
    said = _said_flags(lines, behind)
    more, length = fd_meaning(said, switch, code, length, ok)
    flags |= extended | more
    return RegularLines(ok, FrameBatch(stamp, identifier, flags, length, data), bus)


def _fd_head(text: TextBlock, begin: Positions, end: Positions) -> int:
    """How wide the beginning of lines is, the first byte of data in it; as in the first, a little more."""
    found = _FD_COLUMNS.search(text.raw, int(begin[0]), int(end[0]))
    return _FD_HEAD if found is None else min(found.end() - int(begin[0]) + _ONE_BYTE_MORE, _FD_HEAD)


def _said_flags(lines: _Lines, behind: Positions) -> NDArray[np.uint32]:
    """The flags column, the third of the words behind the data."""
    words = WordWindow(lines.wide, behind, lines.line_end, _FD_TAIL, FLAGS_COLUMN + 1)
    lines.ok &= words.count > FLAGS_COLUMN
    return hexadecimal(lines.text, words.begin[FLAGS_COLUMN], words.end[FLAGS_COLUMN], lines.ok)
