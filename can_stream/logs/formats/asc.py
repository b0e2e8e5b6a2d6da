"""Vector ASC logs, a block at a time: regular lines in columns, every other line by itself, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch
from can_stream.logs.formats.asc_lines import AscReader
from can_stream.logs.formats.asc_text.columns import RegularLines, regular_lines
from can_stream.logs.formats.asc_text.layouts import Layouts
from can_stream.logs.log_blocks import ChannelNames, ParsedBlock, RowCollector, merge_lines
from can_stream.text.text_columns import Positions, TextBlock

# Differences are summed in columns where the sum stays far from the end of 64 bits.
_FAR_NS: Final = 8 * 10**18
_MOST_IN_A_BLOCK_NS: Final = 10**18
_BEGIN_OF_TIMES: Final = frozenset(b"%c" % character for character in b"-0123456789")


class _Anchors(Struct, eq=False):
    """From which line on what is added to the stamps (absolute) or to their sums (relative)."""

    lines: list[int]
    added_ns: list[int]

    def of(self, lines: int) -> NDArray[np.int64] | np.int64:
        """int64[lines], or one for all of them: what is added in each line."""
        if len(self.lines) == 1:
            return np.int64(self.added_ns[0])
        index = np.searchsorted(np.array(self.lines), np.arange(lines), side="right") - 1
        return np.array(self.added_ns, np.int64)[index]


class AscParser:
    """A `BlockParser` of Vector ASC. Channel 1 is `can0`."""

    def __init__(self) -> None:
        self._names = ChannelNames()
        self._reader = AscReader()
        self._layouts = Layouts()
        # So that their memory is not given back to the system and fetched again for every block.
        self._blocks_before: tuple[TextBlock, ...] = ()

    @property
    def channels(self) -> list[str]:
        """Channel names in order of first appearance."""
        return self._names.names

    def parse(self, block: bytes) -> ParsedBlock:
        """The frames of a block of whole lines, in order."""
        text = TextBlock(block)
        self._blocks_before = (text, *self._blocks_before[:1])
        rest = RowCollector(self._names)
        begin = 0 if self._names.names else self._read_header(text, rest)
        lines = regular_lines(text, self._layouts, is_decimal=self._reader.header.base == 10)
        self._leave_to_reader(lines)
        stamps = self._read_rest(text, lines, rest, begin)
        frames = lines.frames
        table = [self._names.find(f"can{bus}") or 0 for bus in range(int(lines.bus.max(initial=0)) + 1)]
        batch = merge_lines(
            lines.ok,
            FrameBatch(stamps, frames.arbitration_id, frames.flags, frames.length, frames.data),
            np.array(table, np.uint16).take(lines.bus),
            rest,
        )
        is_local = self._reader.header.clock.is_local and len(batch.frames) > 0
        return ParsedBlock(
            batch, len(text), rest.others, rest.unreadable, tuple(rest.faults), is_local=is_local
        )

    def _read_header(self, text: TextBlock, rest: RowCollector) -> int:
        """Read the lines before the first one with a time: how many. They say how to read all others."""
        for index in range(len(text)):
            line = text.line(index)
            if line.lstrip()[:1] in _BEGIN_OF_TIMES:
                return index
            rest.take_line(index, line, self._reader.read_line)
        return len(text)

    def _leave_to_reader(self, lines: RegularLines) -> None:
        """Clears `ok` of the lines that columns cannot read here."""
        clock, ok = self._reader.header.clock, lines.ok
        if clock.is_relative:
            sum_ns = float(lines.frames.timestamp_ns[ok].sum(dtype=np.float64))
            ok &= sum_ns <= _MOST_IN_A_BLOCK_NS and abs(clock.now_ns) <= _FAR_NS
        if clock.time_of_day_ns and ok.any():
            ok[np.argmax(ok)] = False
        # Channels are numbered in file order: the first line of each new one is read by itself.
        for bus in np.flatnonzero(np.bincount(lines.bus[ok])).tolist():
            if self._names.find(f"can{bus}") is None:
                ok[np.argmax(ok & (lines.bus == bus))] = False

    def _is_unsettled(self) -> bool:
        """Whether times must be read one at a time now."""
        clock = self._reader.header.clock
        is_far = clock.is_relative and abs(clock.now_ns) > _FAR_NS
        # At the beginning the first frame is read by itself anyhow.
        return is_far or (clock.time_of_day_ns != 0 and len(self._names.names) > 0)

    def _read_rest(
        self, text: TextBlock, lines: RegularLines, rest: RowCollector, begin: int
    ) -> NDArray[np.int64]:
        """Read what is not regular from line `begin` on into `rest`. The times int64[lines] of the others.

        Where a line changes how numbers or times are read, all behind it are read one at a time.
        """
        header, ok = self._reader.header, lines.ok
        clock = header.clock
        counted = lines.frames.timestamp_ns
        if clock.is_relative:
            counted = np.cumsum(np.where(ok, counted, 0))
        anchors = _Anchors([-1], [clock.now_ns if clock.is_relative else clock.origin_ns])
        settings = (header.base, clock.is_relative)
        left = np.flatnonzero(~ok[begin:]) + begin
        for index, line in zip(left.tolist(), _lines(text, left), strict=True):
            if clock.is_relative:
                clock.now_ns = anchors.added_ns[-1] + int(counted[index])
            rest.take_line(index, line, self._reader.read_line)
            if settings != (header.base, clock.is_relative) or self._is_unsettled():
                behind = np.arange(index + 1, len(text))
                for number, one in zip(behind.tolist(), _lines(text, behind), strict=True):
                    rest.take_line(number, one, self._reader.read_line)
                ok[index + 1 :] = False
                return counted + anchors.of(len(text))
            added_ns = clock.now_ns - int(counted[index]) if clock.is_relative else clock.origin_ns
            if added_ns != anchors.added_ns[-1]:
                anchors.lines.append(index)
                anchors.added_ns.append(added_ns)
        if clock.is_relative and len(text):
            clock.now_ns = anchors.added_ns[-1] + int(counted[-1])
        return counted + anchors.of(len(text))


def _lines(text: TextBlock, numbers: Positions) -> Iterator[bytes]:
    """The lines of these numbers, without LF."""
    places = zip(text.start[numbers].tolist(), text.line_feed[numbers].tolist(), strict=True)
    return (text.raw[begin:end] for begin, end in places)
