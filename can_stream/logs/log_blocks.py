"""What every log reader shares: blocks of whole lines in, batches and named faults out.

Pure: the file object is handed in by `can_stream.logs.log_reader`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Final, Protocol

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from can_stream.errors import LineError
from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of, empty_batch, widen

BLOCK_BYTES: Final = 128 * 1024
MAX_LINE_BYTES: Final = 4096
MAX_CHANNELS: Final = 256
MAX_PROBLEMS: Final = 20
EXCERPT_BYTES: Final = 80
# So many zero bytes at the beginning of a line are no slip of it.
MIN_ZEROS: Final = 8
NS_PER_SECOND: Final = 1_000_000_000
MAX_SECONDS: Final = 2**63 // NS_PER_SECOND - 1

# timestamp_ns, channel name, arbitration_id, flags, length, data
Row = tuple[int, str, int, int, int, bytes]

# Kinds of what is neither a frame nor unreadable, in the plural, as the books of a log name them.
BLANK: Final = "blank lines"
COMMENT: Final = "comments"
HEADER: Final = "header lines"

# Positive exponents only: programs write small numbers with negative ones.
_SHORTENED: Final = re.compile(rb"-?\d(?:[.,]\d+)?[Ee]\+?\d+")
_CHANNEL_NAME: Final = re.compile(rb"[!-~]{1,32}")


class Fault(Struct, frozen=True):
    """An unreadable line or object: `line` counts from 0 in its block, None where the format has no lines;

    there `offset` is where in the (unpacked) file, where that is known.
    """

    line: int | None
    reason: str
    excerpt: str = ""
    offset: int | None = None


class LogProblem(Struct, frozen=True):
    """Where and why a log could not be read. `line` counts from 1; without one `offset` says where if known,

    else `after_frames`, the frames of the blocks before.
    """

    path: PurePath
    line: int | None
    after_frames: int
    reason: str
    excerpt: str
    offset: int | None = None

    def __str__(self) -> str:
        if self.line is not None:
            place = f"line {self.line}"
        else:
            place = f"after frame {self.after_frames}" if self.offset is None else f"byte {self.offset}"
        shown = f" ({self.excerpt!r})" if self.excerpt else ""
        return f"{self.path}: {place}: {self.reason}{shown}"


class LogBatch(Struct, frozen=True, eq=False):
    """Frames in file order. `channel` uint16[N] indexes the reader's `channels`."""

    frames: FrameBatch
    channel: NDArray[np.uint16]


class ParsedBlock(Struct, frozen=True, eq=False):
    """One block of a log: frames + `unreadable` + the sum of `others` == `items`.

    `items`: lines of text, or objects of a binary format. `others`: how many were no frames, by kind.
    `faults` names the first of the unreadable. `is_local`: its times come from a date without a zone.
    `is_cut`: the log ends here, before its own end or its own count. `has_open_end`: it ends here within a
    line of text, which may have been longer.
    """

    batch: LogBatch
    items: int = 0
    others: Mapping[str, int] = field(default_factory=dict)
    unreadable: int = 0
    faults: tuple[Fault, ...] = ()
    is_local: bool = False
    is_cut: bool = False
    has_open_end: bool = False


class LogSource(Protocol):
    """One log, read forward once."""

    @property
    def channels(self) -> list[str]:
        """Channel names in order of first appearance."""

    def blocks(self) -> Iterator[ParsedBlock]:
        """All that is in the log, in order. Raises only what reading its bytes raises."""


class BlockParser(Protocol):
    """Turns blocks of whole lines into frames, in order. Any bytes are either read or counted."""

    @property
    def channels(self) -> list[str]:
        """Channel names in order of first appearance."""

    def parse(self, block: bytes) -> ParsedBlock:
        """The frames of `block`, which ends at a line end or at the end of the file."""


class ChannelNames(Struct):
    """The channel names of one log, numbered in order of appearance, at most `MAX_CHANNELS`."""

    names: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def find(self, name: str) -> int | None:
        """The index of `name`, None where it has none yet."""
        return self._numbers.get(name)

    def number(self, name: str) -> int:
        """The index of `name`. Raises `LineError` for one name too many."""
        known = self._numbers.get(name)
        if known is None:
            if len(self.names) >= MAX_CHANNELS:
                raise LineError(f"more than {MAX_CHANNELS} channel names")
            known = self._numbers[name] = len(self.names)
            self.names.append(name)
        return known


def channel_name(text: bytes) -> str:
    """`text` as a channel name. Raises `LineError` where it is none."""
    if _CHANNEL_NAME.fullmatch(text) is None:
        raise LineError("not a channel name")
    return text.decode("ascii")


def excerpt_of(line: bytes) -> str:
    """The beginning of `line`, printable."""
    return line[:EXCERPT_BYTES].decode("utf-8", "backslashreplace")


def empty_log_batch() -> LogBatch:
    """No frames."""
    return LogBatch(empty_batch(), np.zeros(0, np.uint16))


def timestamp_ns(seconds: bytes, fraction: bytes) -> int:
    """Nanoseconds of decimal `seconds` and up to 9 digits of `fraction`; the sign counts for both."""
    whole = int(seconds)
    if abs(whole) > MAX_SECONDS:
        raise LineError("timestamp out of range")
    part = int(fraction.ljust(9, b"0")[:9]) if fraction else 0
    return whole * NS_PER_SECOND + (-part if seconds.startswith(b"-") else part)


def check_identifier(arbitration_id: int, *, extended: bool) -> None:
    """Raises `LineError` where the identifier has more than its 11 or 29 bits."""
    if arbitration_id > (0x1FFF_FFFF if extended else 0x7FF):
        raise LineError(f"identifier {arbitration_id:X} has more than {29 if extended else 11} bits")


def read_blocks(
    read: Callable[[int], bytes],
    block_bytes: int = BLOCK_BYTES,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[bytes]:
    """Blocks of whole lines, about `block_bytes` each, the last line with or without its end.

    Of a line longer than `max_line_bytes` one byte more than that is kept, so that parsers see that it is
    too long, and the rest is dropped as it is read.
    """
    kept = b""
    while chunk := read(block_bytes):
        cut = chunk.rfind(b"\n") + 1
        if cut == 0:
            kept = (kept + chunk)[: max_line_bytes + 1]
            continue
        first = chunk.find(b"\n")
        head = (kept + chunk[:first])[: max_line_bytes + 1] if kept else chunk[:first]
        yield b"".join((head, memoryview(chunk)[first:cut]))
        kept = chunk[cut : cut + max_line_bytes + 1]
    if kept:
        yield kept


class TextLog:
    """A `LogSource` of text: the blocks of whole lines that `read` gives, each through `parser`."""

    def __init__(self, parser: BlockParser, read: Callable[[int], bytes], block_bytes: int) -> None:
        self._parser = parser
        self._blocks = read_blocks(read, block_bytes)

    @property
    def channels(self) -> list[str]:
        """Channel names in order of first appearance."""
        return self._parser.channels

    def blocks(self) -> Iterator[ParsedBlock]:
        """A block of frames for each block of lines."""
        for block in self._blocks:
            parsed = self._parser.parse(block)
            yield parsed if block.endswith(b"\n") else replace(parsed, has_open_end=True)


def split_lines(block: bytes) -> list[bytes]:
    """The lines of `block` without their LF, each at most a read's size long."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def kind_of_no_line(line: bytes) -> str | None:
    """Blank lines and `#` comments are no frames and no faults; None for every other line."""
    text = line.strip()
    if not text:
        return BLANK
    return COMMENT if text.startswith(b"#") else None


def check_line_length(line: bytes) -> None:
    """Raises `LineError` for a line over the cap, whose rest may not have been kept."""
    if len(line) > MAX_LINE_BYTES:
        raise LineError(f"line longer than {MAX_LINE_BYTES} bytes")


def check_not_shortened(number: bytes) -> None:
    """Raises `LineError` for a time of which a spreadsheet has kept a few digits, as `1.71484E+09`."""
    if _SHORTENED.fullmatch(number):
        raise LineError("a time stamp that a spreadsheet has shortened: use the file as it was recorded")


def _fault_of(index: int, line: bytes, reason: str) -> Fault:
    """Why `line` could not be read. Zero bytes are counted: shown they would fill the screen."""
    behind = line.lstrip(b"\0")
    zeros = len(line) - len(behind)
    if zeros < MIN_ZEROS:
        return Fault(index, reason, excerpt_of(line))
    if len(line) > MAX_LINE_BYTES:
        return Fault(index, f"{reason}, which begins with zero bytes", "")
    if behind.strip():
        return Fault(index, f"{zeros:,} zero bytes stand before it", excerpt_of(behind))
    return Fault(index, f"{zeros:,} zero bytes, as a loss of power leaves them", "")


class RowCollector(Struct):
    """Collects the outcome of lines that are read one at a time."""

    names: ChannelNames
    rows: list[tuple[int, int, int, int, bytes]] = field(default_factory=list)
    channel: list[int] = field(default_factory=list)
    place: list[int] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    unreadable: int = 0
    faults: list[Fault] = field(default_factory=list)

    def take_line(self, index: int, line: bytes, read_line: Callable[[bytes], Row | str]) -> None:
        """Read `line`, number `index` of its block; of what is no frame `read_line` answers the kind."""
        try:
            check_line_length(line)
            row = kind_of_no_line(line) or read_line(line)
            if isinstance(row, str):
                self.others[row] = self.others.get(row, 0) + 1
                return
            stamp, name, arbitration_id, flags, length, data = row
            self.channel.append(self.names.number(name))
        except LineError as fault:
            self.unreadable += 1
            if len(self.faults) < MAX_PROBLEMS:
                self.faults.append(_fault_of(index, line, fault.reason))
            return
        self.rows.append((stamp, arbitration_id, flags, length, data))
        self.place.append(index)

    def batch(self) -> LogBatch:
        """The frames so far."""
        return LogBatch(batch_of(self.rows), np.array(self.channel, np.uint16))


def parse_lines(
    lines: Sequence[bytes], names: ChannelNames, read_line: Callable[[bytes], Row | str]
) -> ParsedBlock:
    """All of `lines`, each read by `read_line`."""
    rows = RowCollector(names)
    for index, line in enumerate(lines):
        rows.take_line(index, line, read_line)
    return ParsedBlock(rows.batch(), len(lines), rows.others, rows.unreadable, tuple(rows.faults))


class LineParser:
    """A `BlockParser` of a text each of whose lines `read_line` reads by itself."""

    def __init__(self, read_line: Callable[[bytes], Row | str]) -> None:
        self._read_line: Final = read_line
        self._names: Final = ChannelNames()

    @property
    def channels(self) -> list[str]:
        """Channel names in order of first appearance."""
        return self._names.names

    def parse(self, block: bytes) -> ParsedBlock:
        """The frames of a block of whole lines, in order."""
        return parse_lines(split_lines(block), self._names, self._read_line)


def merge_lines(
    ok: NDArray[np.bool_], regular: FrameBatch, channel: NDArray[np.uint16], rest: RowCollector
) -> LogBatch:
    """Lines read in columns, valid where `ok`, and those read one at a time, in the order of the file.

    Overwrites the rows that are not `ok`.
    """
    if not rest.rows:
        return LogBatch(regular, channel) if ok.all() else LogBatch(regular[ok], channel[ok])
    other = rest.batch()
    if not ok.any():
        return other
    place = np.array(rest.place)
    data = widen(regular.data, other.frames.width)
    # A row in place of a wider one ends before that.
    data[place, other.frames.width :] = 0
    for mine, theirs in (
        (regular.timestamp_ns, other.frames.timestamp_ns),
        (regular.arbitration_id, other.frames.arbitration_id),
        (regular.flags, other.frames.flags),
        (regular.length, other.frames.length),
        (data[:, : other.frames.width], other.frames.data),
        (channel, other.channel),
    ):
        mine[place] = theirs
    kept = ok.copy()
    kept[place] = True
    frames = FrameBatch(regular.timestamp_ns, regular.arbitration_id, regular.flags, regular.length, data)
    return LogBatch(frames[kept], channel[kept])


FLAG_OF_DIRECTION: Final = {b"R": 0, b"T": int(FrameFlag.TX)}
