"""Opens a log file of any format and iterates over its frames.

Formats are told apart by their first lines, not by their names; see docs/logs.md.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from can_stream.errors import LineError, LogError
from can_stream.logs.formats.candump import CandumpParser
from can_stream.logs.formats.candump_lines import HumanClock, are_deltas, human_times, read_candump_line
from can_stream.logs.formats.crtd import CrtdParser, read_crtd_line
from can_stream.logs.formats.gvret import DEFAULT_HEADER, GvretParser, gvret_columns
from can_stream.logs.formats.library_logs import LIBRARY_FORMATS, LibraryLog
from can_stream.logs.log_blocks import (
    BLOCK_BYTES,
    MAX_PROBLEMS,
    BlockParser,
    Fault,
    LogBatch,
    LogProblem,
    ParsedBlock,
    Row,
    empty_log_batch,
    is_ignorable,
    read_blocks,
)

FORMATS: Final = ("candump", "gvret", "crtd", *LIBRARY_FORMATS)
_DATABASE_SUFFIXES: Final = (".dbc", ".kcd", ".sym", ".arxml")
_HEAD_BYTES: Final = 64 * 1024
_HEAD_LINES: Final = 500
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ASC_HEADER: Final = re.compile(rb"(?:date\s+\S{2,5}\s+\S{3,5}\s+\d|base\s+(?:hex|dec)\b)", re.IGNORECASE)
_CSV_HEADER: Final = b"timestamp,arbitration_id,"
_MAGIC: Final = ((b"LOGG", "blf"), (b"MDF ", "mf4"), (b"UnFinMF", "mf4"))
_READ_ERRORS: Final = (OSError, EOFError, zlib.error)


class LogReader:
    """One pass over a log: iterate once for its batches, in file order, each from a block of bounded size.

    `format`: one of `FORMATS`. `channels` grows as names appear. `frames` and `unreadable` count what has
    been read so far; for text formats of our own frames + unreadable + ignored == lines. `problems` names
    the first 20 of the unreadable. Without `has_timestamps` every frame's time is 0. An iteration never
    raises for what is in the file; a file that breaks off (damaged compression) counts as one fault.
    """

    def __init__(
        self, path: Path, format_name: str, file: BinaryIO, head: list[bytes], block_bytes: int
    ) -> None:
        self.path: Final = path
        self.format: Final = format_name
        self.has_timestamps: Final = format_name != "candump" or _has_timestamps(head)
        self.frames = 0
        self.unreadable = 0
        self.ignored = 0
        self.lines = 0
        self.problems: list[LogProblem] = []
        self.size_bytes: Final = path.stat().st_size
        self._file: Final = file
        self._block_bytes: Final = block_bytes
        self._source: Final = _source_of(path, format_name, file, head)

    @property
    def channels(self) -> list[str]:
        """Names of the channels seen so far; `LogBatch.channel` indexes them."""
        return self._source.channels

    @property
    def bytes_read(self) -> int:
        """How far into the file on disk this is; of a compressed one it lies further than what came of it."""
        if self._file.closed:
            return self.size_bytes
        on_disk: BinaryIO = getattr(self._file, "fileobj", self._file)  # behind a GzipFile
        return min(on_disk.tell(), self.size_bytes)

    def __iter__(self) -> Iterator[LogBatch]:
        with self._file:
            blocks = self._blocks()
            while (block := self._next(blocks)) is not None:
                self._account(block)
                if len(block.batch.frames):
                    yield block.batch

    def close(self) -> None:
        """Close a log that is not read to its end."""
        self._file.close()

    def _blocks(self) -> Iterator[ParsedBlock]:
        if isinstance(self._source, LibraryLog):
            return self._source.blocks()
        return map(self._source.parse, read_blocks(self._file.read, self._block_bytes))

    @staticmethod
    def _next(blocks: Iterator[ParsedBlock]) -> ParsedBlock | None:
        try:
            return next(blocks, None)
        except _READ_ERRORS as error:
            fault = Fault(None, f"the file cannot be read on: {error}", "")
            return ParsedBlock(empty_log_batch(), unreadable=1, faults=(fault,))

    def _account(self, block: ParsedBlock) -> None:
        for fault in block.faults[: MAX_PROBLEMS - len(self.problems)]:
            line = None if fault.line is None else self.lines + fault.line + 1
            self.problems.append(LogProblem(self.path, line, self.frames, fault.reason, fault.excerpt))
        self.frames += len(block.batch.frames)
        self.unreadable += block.unreadable
        self.ignored += block.ignored
        self.lines += block.lines


def open_log(
    path: Path,
    *,
    format: str | None = None,  # noqa: A002 - the word users know
    block_bytes: int = BLOCK_BYTES,
) -> LogReader:
    """A reader of the log at `path`, gzip-compressed or not, in batches of about `block_bytes` of text.

    `format` overrides what its first lines say. Raises `LogError` for a file that is missing, that is no log
    of a known format, or whose reader is not installed. An empty file is a log without frames.
    """
    if format is not None and format not in FORMATS:
        raise LogError(path, f"unknown log format {format!r}: one of {', '.join(FORMATS)}")
    try:
        file = _open(path)
    except OSError as error:
        raise LogError(path, error.strerror or str(error)) from error
    try:
        head = file.read(_HEAD_BYTES)
        file.seek(0)
        lines = head.split(b"\n")[:_HEAD_LINES]
        return LogReader(path, format or _format_of(path, head, lines), file, lines, block_bytes)
    except _READ_ERRORS as error:
        file.close()
        raise LogError(path, f"cannot be read: {error}") from error
    except LogError:
        file.close()
        raise


def _open(path: Path) -> BinaryIO:
    file = path.open("rb")
    magic = file.read(len(_GZIP_MAGIC))
    file.seek(0)
    if magic != _GZIP_MAGIC:
        return file
    file.close()
    return cast(BinaryIO, gzip.open(path, "rb"))


def _source_of(path: Path, format_name: str, file: BinaryIO, head: list[bytes]) -> BlockParser | LibraryLog:
    if format_name == "candump":
        return CandumpParser(deltas=are_deltas(human_times(head) or []))
    if format_name == "gvret":
        return GvretParser(next((line for line in head if gvret_columns(line)), DEFAULT_HEADER))
    if format_name == "crtd":
        return CrtdParser()
    return LibraryLog(path, file, format_name)


def _format_of(path: Path, head: bytes, lines: list[bytes]) -> str:
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    for line in lines:
        if (found := _format_of_line(line)) is not None:
            return found
    by_name = _format_of_name(path)
    if by_name is not None and all(is_ignorable(line) for line in lines):
        return by_name
    if not head.strip():
        return by_name or "candump"
    if path.suffix.lower() in _DATABASE_SUFFIXES:
        raise LogError(path, "a database, not a log: each one needs its own --dbc")
    raise LogError(path, f"not a log of a known format ({', '.join(FORMATS)})")


def _format_of_line(line: bytes) -> str | None:
    """What one line of text says about the format, None where it says nothing."""
    text = line.strip()
    if text.startswith(b";"):
        return "trc"
    if text.startswith(_CSV_HEADER):
        return "csv"
    if gvret_columns(text) is not None:
        return "gvret"
    if _reads(read_crtd_line, line):
        return "crtd"
    if _reads(lambda shown: read_candump_line(shown, HumanClock()), line):
        return "candump"
    return "asc" if _ASC_HEADER.match(text) else None


def _reads(read_line: Callable[[bytes], Row | None], line: bytes) -> bool:
    try:
        return read_line(line.rstrip(b"\r")) is not None
    except LineError:
        return False


def _format_of_name(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    last = suffixes[-1][1:] if suffixes else ""
    return {"log": "candump", "txt": "candump", "csv": "gvret"}.get(last, last if last in FORMATS else None)


def _has_timestamps(head: list[bytes]) -> bool:
    """False for human-readable candump output without time stamps (no `-t`)."""
    readable = (line for line in head if _reads(lambda shown: read_candump_line(shown, HumanClock()), line))
    return next((b"(" in line for line in readable), True)
