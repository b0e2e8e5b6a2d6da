"""Opens a log file of any format and iterates over its frames.

Formats are told apart by their first lines, not by their names; see docs/logs.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from can_stream.errors import LogError
from can_stream.logs.books import LogBooks
from can_stream.logs.formats.candump import CandumpParser
from can_stream.logs.formats.candump_lines import are_deltas, human_times
from can_stream.logs.forward_bytes import READ_ERRORS
from can_stream.logs.line_ends import LineEnds, with_line_feeds
from can_stream.logs.log_blocks import (
    BLOCK_BYTES,
    MAX_PROBLEMS,
    BlockParser,
    Fault,
    LineParser,
    LogBatch,
    LogProblem,
    LogSource,
    ParsedBlock,
    TextLog,
    empty_log_batch,
)
from can_stream.logs.log_file import LogFile
from can_stream.logs.recognition import FORMATS, HEAD_BYTES, HEAD_LINES, FormatSeen, format_of, is_candump

# Formats whose columns take more steps, which larger blocks make up for; but none over that size.
_TIMES_AS_LARGE: Final = {"asc": 4, "trc": 2}
_LARGEST: Final = 4 * BLOCK_BYTES
_MAX_KINDS: Final = 64
_MANY_KINDS: Final = "others of many kinds"


class LogReader:
    """One pass over a log: iterate once for its batches, in file order, each from a block of bounded size.

    `format`: one of `FORMATS`. `channels` grows as names appear. The books of what has been read so far:
    `frames` + `unreadable` + the sum of `others` (by kind) == `items`, lines of text or objects. `problems`
    names the first 20 of the unreadable. `is_cut`: the log ends before its own end; `has_open_end`: within a
    line, which may be cut. Without `has_timestamps` every frame's time is 0; where `is_local` times come from
    a date without a zone. An iteration never raises for what is in the file; one that breaks off (damaged
    compression) is one fault.
    """

    def __init__(self, file: LogFile, format_name: str, head: list[bytes], block_bytes: int) -> None:
        self.path: Final = file.path
        self.format: Final = format_name
        self.has_timestamps: Final = format_name != "candump" or _has_timestamps(head)
        self.first_ns: int | None = None
        self.frames = 0
        self.unreadable = 0
        self.items = 0
        self.others: dict[str, int] = {}
        self.is_local = False
        self.is_cut = False
        self.has_open_end = False
        self.problems: list[LogProblem] = []
        self.size_bytes: Final = file.size_bytes
        self._is_closed = False
        self._file: Final = file
        self._source: Final = _source_of(file, format_name, head, block_bytes)

    @property
    def channels(self) -> list[str]:
        """Names of the channels seen so far; `LogBatch.channel` indexes them."""
        return self._source.channels

    @property
    def books(self) -> LogBooks:
        """What the log has been found to hold so far."""
        return LogBooks(
            self.path,
            self.format,
            self.items,
            self.frames,
            dict(self.others),
            self.unreadable,
            first_ns=self.first_ns,
            has_timestamps=self.has_timestamps,
            is_local=self.is_local,
            is_cut=self.is_cut,
            has_open_end=self.has_open_end,
        )

    @property
    def bytes_read(self) -> int:
        """How far into the file on disk this is; of a compressed one it lies further than what came of it."""
        read = self._file.bytes_read
        if self.size_bytes is None:
            return read
        return self.size_bytes if self._is_closed else min(read, self.size_bytes)

    def __iter__(self) -> Iterator[LogBatch]:
        try:
            blocks = self._source.blocks()
            while (block := self._next(blocks)) is not None:
                self._account(block)
                if len(block.batch.frames):
                    yield block.batch
            if self._file.has_bytes_behind_its_end:
                self._account(_broken_off("what stands behind the end of the compressed data is left out"))
        finally:
            self.close()

    def close(self) -> None:
        """Close a log, also one that is not read to its end."""
        self._is_closed = True
        self._file.close()

    @staticmethod
    def _next(blocks: Iterator[ParsedBlock]) -> ParsedBlock | None:
        try:
            return next(blocks, None)
        except READ_ERRORS as error:
            return _broken_off(f"the file cannot be read on: {_words(error)}")

    def _account(self, block: ParsedBlock) -> None:
        for fault in block.faults[: MAX_PROBLEMS - len(self.problems)]:
            line = None if fault.line is None else self.items + fault.line + 1
            self.problems.append(
                LogProblem(self.path, line, self.frames, fault.reason, fault.excerpt, fault.offset)
            )
        if self.first_ns is None and len(block.batch.frames):
            self.first_ns = int(block.batch.frames.timestamp_ns[0])
        self.frames += len(block.batch.frames)
        self.unreadable += block.unreadable
        for kind, count in block.others.items():
            if kind not in self.others and len(self.others) >= _MAX_KINDS:
                kind = _MANY_KINDS  # noqa: PLW2901 - a hostile file has a kind in each object
            self.others[kind] = self.others.get(kind, 0) + count
        self.items += block.items
        self.is_local |= block.is_local
        self.is_cut |= block.is_cut
        self.has_open_end |= block.has_open_end


def open_log(
    path: Path,
    *,
    format: str | None = None,  # noqa: A002 - the word users know
    block_bytes: int = BLOCK_BYTES,
) -> LogReader:
    """A reader of the log at `path`, compressed or not, in batches of about `block_bytes` of text.

    `-` is standard input; a pipe is read as what is written into it comes. `format` overrides what its first
    lines say. Raises `LogError` for a file that is missing, that is no log of a known format, or whose
    reader is not installed. An empty file is a log without frames.
    """
    if format is not None and format not in FORMATS:
        raise LogError(path, f"unknown log format {format!r}: one of {', '.join(FORMATS)}")
    try:
        file = LogFile(path)
    except OSError as error:
        raise LogError(path, f"{error.strerror or error}: check the name of the log") from error
    try:
        head = file.head(HEAD_BYTES, FormatSeen())
        lines = with_line_feeds(head).split(b"\n")[:HEAD_LINES]
        return LogReader(file, format or format_of(path, head, lines), lines, block_bytes)
    except READ_ERRORS as error:
        file.close()
        raise LogError(path, f"cannot be read: {_words(error)}") from error
    except LogError:
        file.close()
        raise


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _broken_off(reason: str) -> ParsedBlock:
    return ParsedBlock(empty_log_batch(), 1, unreadable=1, faults=(Fault(None, reason),), is_cut=True)


# A reader is loaded with the first log of its format: what an agent never reads takes none of its memory.
# ruff: noqa: PLC0415, PLR0911


def _source_of(file: LogFile, format_name: str, head: list[bytes], block_bytes: int) -> LogSource:
    match format_name:
        case "blf":
            from can_stream.logs.formats.blf import BlfLog

            return BlfLog(file.path, file.read, block_bytes)
        case "pcap":
            from can_stream.logs.formats.pcap import PcapLog

            return PcapLog(file.path, file.read, block_bytes)
        case "mf4":
            from can_stream.logs.formats.foreign import mf4_log

            return mf4_log(file.path, file.read, file.path if file.is_plain else None)
        case _:
            large = _TIMES_AS_LARGE.get(format_name, 1) * block_bytes
            block_bytes = max(block_bytes, min(large, _LARGEST))
            return TextLog(_parser_of(format_name, head), LineEnds(file.read).read, block_bytes)


def _parser_of(format_name: str, head: list[bytes]) -> BlockParser:
    match format_name:
        case "candump":
            return CandumpParser(deltas=are_deltas(human_times(head) or []))
        case "gvret":
            from can_stream.logs.formats.gvret import DEFAULT_HEADER, GvretParser, gvret_columns

            return GvretParser(next((line for line in head if gvret_columns(line)), DEFAULT_HEADER))
        case "asc":
            from can_stream.logs.formats.asc import AscParser

            return AscParser()
        case "trc":
            from can_stream.logs.formats.trc import TrcParser

            return TrcParser()
        case "csv":
            from can_stream.logs.formats.python_can_csv import read_csv_row

            return LineParser(read_csv_row)
        case "busmaster":
            from can_stream.logs.formats.busmaster import BusmasterParser

            return BusmasterParser()
        case _:
            from can_stream.logs.formats.crtd import read_crtd_line

            return LineParser(read_crtd_line)


def _has_timestamps(head: list[bytes]) -> bool:
    """False for human-readable candump output without time stamps (no `-t`)."""
    return next((b"(" in line for line in head if is_candump(line)), True)
