"""PEAK traces (TRC), a block at a time: regular lines in whole columns, every other line by itself.

Regular are data frames, classic and FD, that are laid out as others before them: `trc_columns`. All else
goes to `trc_lines`, which reads the regular lines just the same: the fast way is only faster.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from can_stream.errors import LineError
from can_stream.frames.batches import CLASSIC_DATA_BYTES, FrameBatch, FrameFlag, widen
from can_stream.logs.formats.trc_text.columns import Columns, LineBlock, read_columns
from can_stream.logs.formats.trc_text.header import TrcColumns, TrcHeader
from can_stream.logs.formats.trc_text.layout import Layout, place_of, variant_of
from can_stream.logs.formats.trc_text.lines import read_trc_line
from can_stream.logs.log_blocks import (
    MAX_LINE_BYTES,
    MAX_PROBLEMS,
    ChannelNames,
    Fault,
    LogBatch,
    ParsedBlock,
    Row,
    RowCollector,
    kind_of_no_line,
    merge_lines,
    parse_lines,
    split_lines,
)

_HEADER_BELOW: Final = re.compile(rb"(?:^|\n);(?:\$|[ \t]*Start time:)", re.IGNORECASE)
_NO_DATA_FRAME: Final = FrameFlag.REMOTE | FrameFlag.ERROR
# Fewer lines are read sooner by themselves than in columns.
_FEW_LINES: Final = 24
_MOST_SAMPLES: Final = 16
_MOST_LAYOUTS: Final = 16
_MOST_VARIANTS: Final = 32


class TrcParser:
    """A `BlockParser` of PEAK traces of any version. Bus 1 is channel `can0`."""

    def __init__(self) -> None:
        self._names = ChannelNames()
        self._header = TrcHeader()
        self._regular = _RegularLines()

    @property
    def channels(self) -> list[str]:
        """Channel names in order of first appearance."""
        return self._names.names

    def parse(self, block: bytes) -> ParsedBlock:
        """The frames of a block of whole lines, in order."""
        begin = _header_end(block)
        body = block[begin:]
        if b";" in body and _HEADER_BELOW.search(body):
            parsed = parse_lines(split_lines(block), self._names, self._read_line)
        else:
            head = parse_lines(split_lines(block[:begin]), self._names, self._read_line)
            parsed = _joined(head, self._parse_body(body)) if begin else self._parse_body(body)
        return structs.replace(parsed, is_local=self._header.is_local and len(parsed.batch.frames) > 0)

    def _read_line(self, line: bytes) -> Row | str:
        return read_trc_line(line, self._header)

    def _parse_body(self, body: bytes) -> ParsedBlock:
        columns = self._header.columns
        if columns is None or not body:
            return parse_lines(split_lines(body), self._names, self._read_line)
        block = LineBlock(body)
        lines = self._regular.read(block, columns, self._header)
        irregular = np.flatnonzero(~lines.ok)
        rest = RowCollector(self._regular.names)
        for index in irregular.tolist():
            rest.take_line(index, block.line(index), self._read_line)
        stamps = lines.offset_ns + self._header.start_ns
        frames = FrameBatch(stamps, lines.arbitration_id, lines.flags, lines.length, lines.data)
        batch = merge_lines(lines.ok, frames, lines.channel, rest)
        batch = LogBatch(batch.frames, self._in_file_order(batch.channel))
        return ParsedBlock(batch, len(block), rest.others, rest.unreadable, tuple(rest.faults))

    def _in_file_order(self, channel: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Channels as numbered in the order of the file; samples are read in another."""
        met = self._regular.names.names
        if len(met) > len(self._names.names):
            numbers, places = np.unique(channel, return_index=True)
            for number in numbers[np.argsort(places)].tolist():
                self._names.number(met[number])
        if met == self._names.names:
            return channel
        return np.array([self._names.find(name) or 0 for name in met], np.uint16)[channel]


def _header_end(block: bytes) -> int:
    """Where the lines at the beginning of `block` end that begin with `;` or are empty."""
    begin = 0
    while block.startswith((b";", b"\n", b"\r\n"), begin):
        line_feed = block.find(b"\n", begin)
        if line_feed < 0:
            return len(block)
        begin = line_feed + 1
    return begin


def _joined(head: ParsedBlock, body: ParsedBlock) -> ParsedBlock:
    """Header lines, which are no frames, and what stands below them."""
    kinds = {*head.others, *body.others}
    moved = (Fault((fault.line or 0) + head.items, fault.reason, fault.excerpt) for fault in body.faults)
    return ParsedBlock(
        body.batch,
        head.items + body.items,
        {kind: head.others.get(kind, 0) + body.others.get(kind, 0) for kind in kinds},
        head.unreadable + body.unreadable,
        (*head.faults, *moved)[:MAX_PROBLEMS],
    )


class _RegularLines:
    """The layouts of a trace, learned from single lines as they come. `names`: its channels, as met."""

    def __init__(self) -> None:
        self.names: Final = ChannelNames()
        self._columns: TrcColumns | None = None
        self._layouts: list[Layout] = []

    def read(self, block: LineBlock, columns: TrcColumns, header: TrcHeader) -> Columns:
        """All lines of `block`, valid where they are laid out as one that was seen."""
        if columns is not self._columns:
            self._columns, self._layouts = columns, []
        found: Columns | None = None
        rest = np.arange(len(block))
        for layout in self._layouts:
            if len(rest) < _FEW_LINES:
                break
            found, rest = _added(block, layout, found, rest)
        for _ in range(_MOST_SAMPLES):
            if len(rest) < _FEW_LINES:
                break
            sample = len(rest) // 2
            learned = self._learn(block.line(int(rest[sample])), columns, header)
            if learned is None:
                rest = np.delete(rest, sample)
            else:
                found, rest = _added(block, learned, found, rest)
        return found or _nothing(len(block))

    def _learn(self, line: bytes, columns: TrcColumns, header: TrcHeader) -> Layout | None:
        """The layout of `line`, with what its text says; None where it has none or that is known already."""
        try:
            row = None if kind_of_no_line(line) or len(line) > MAX_LINE_BYTES else read_trc_line(line, header)
        except LineError:
            return None
        if row is None or isinstance(row, str) or row[3] & _NO_DATA_FRAME:
            return None
        place = place_of(line, columns)
        if place is None:
            return None
        layout = next((known for known in self._layouts if known.place == place), None)
        if layout is None:
            layout = Layout(place, columns.is_code, place.masks())
            self._layouts = [layout, *self._layouts[: _MOST_LAYOUTS - 1]]
        variant = variant_of(line, row, self.names.number(row[1]), layout)
        if variant in layout.variants:
            return None
        layout.variants = [variant, *layout.variants[: _MOST_VARIANTS - 1]]
        return layout


def _added(
    block: LineBlock, layout: Layout, found: Columns | None, rest: NDArray[np.int64]
) -> tuple[Columns, NDArray[np.int64]]:
    """What was found, with those of the lines `rest` that are laid out so; and the others of them."""
    if found is None and len(rest) == len(block):
        found = read_columns(block, layout, None)
        return found, np.flatnonzero(~found.ok)
    more = read_columns(block, layout, rest)
    found = _nothing(len(block)) if found is None else found
    width = max(found.data.shape[1], more.data.shape[1])
    found.data = widen(found.data, width)
    at, ok = rest[more.ok], more.ok
    for mine, theirs in (
        (found.offset_ns, more.offset_ns),
        (found.arbitration_id, more.arbitration_id),
        (found.flags, more.flags),
        (found.length, more.length),
        (found.data[:, : more.data.shape[1]], more.data),
        (found.channel, more.channel),
        (found.ok, ok),
    ):
        mine[at] = theirs[ok]
    return found, rest[~ok]


def _nothing(lines: int) -> Columns:
    data = np.zeros((lines, CLASSIC_DATA_BYTES), np.uint8)
    return Columns(
        np.zeros(lines, np.bool_),
        np.zeros(lines, np.int64),
        np.zeros(lines, np.uint32),
        np.zeros(lines, np.uint8),
        np.zeros(lines, np.uint8),
        data,
        np.zeros(lines, np.uint16),
    )
