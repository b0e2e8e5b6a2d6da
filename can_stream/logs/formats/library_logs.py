"""Logs that python-can reads: ASC, BLF, TRC, its own CSV, and MF4 with the extra `[mf4]`.

python-can is imported only when such a log is opened, so that an agent without one stays small.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import logging
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from can_stream.errors import LineError, LogError
from can_stream.frames.batches import (
    CLASSIC_DATA_BYTES,
    EXTENDED_ID_MASK,
    FD_LENGTHS,
    STANDARD_ID_MASK,
    FrameFlag,
    batch_of,
)
from can_stream.logs.log_blocks import (
    MAX_LINE_BYTES,
    MAX_SECONDS,
    ChannelNames,
    Fault,
    LogBatch,
    ParsedBlock,
    channel_name,
    check_identifier,
    empty_log_batch,
    excerpt_of,
)

if TYPE_CHECKING:
    from can import Message

CHUNK_FRAMES: Final = 4096
TEXT_FORMATS: Final = ("asc", "trc", "csv")
LIBRARY_FORMATS: Final = (*TEXT_FORMATS, "blf", "mf4")
_MAX_REASON: Final = 200

_Frame = tuple[int, int, int, int, bytes]


class LibraryLog:
    """Reads one log with python-can. `file` is open and uncompressed. Raises `LogError` for no such log."""

    def __init__(self, path: Path, file: BinaryIO, format_name: str) -> None:
        self._names = ChannelNames()
        self._lines = _CountedLines(file) if format_name in TEXT_FORMATS else None
        try:
            self._reader = _reader_of(path, self._lines or file, format_name)
        except LogError:
            raise
        except Exception as error:
            raise LogError(path, f"not a {format_name.upper()} log: {_described(error)}") from error

    @property
    def channels(self) -> list[str]:
        """Channel names in order of first appearance."""
        return self._names.names

    def blocks(self) -> Iterator[ParsedBlock]:
        """All frames in file order, `CHUNK_FRAMES` at a time; where the reader fails those before are kept.

        The readers of text go on behind the line that they failed at; those of BLF and MF4 cannot.
        """
        with _dropped_lines(self._lines) as faults:
            resumed_at = -1
            while True:
                messages = iter(self._reader)
                failure: Exception | None = None
                while failure is None:
                    rows, channel, failure = self._chunk(messages, faults)
                    yield _block(rows, channel, faults)
                    faults.clear()
                    if failure is None and not rows:
                        return
                yield _block([], [], [self._fault(f"python-can's reader: {_described(failure)}")])
                if self._lines is None or self._lines.number <= resumed_at:
                    return
                resumed_at = self._lines.number
                # A reader that starts again takes the next line for a header.
                self._lines.pushed_back = "\n"

    def _chunk(
        self, messages: Iterator[Message], faults: list[Fault]
    ) -> tuple[list[_Frame], list[int], Exception | None]:
        """Up to `CHUNK_FRAMES` frames, their channels, and what stopped the reader before it had so many."""
        rows: list[_Frame] = []
        channel: list[int] = []
        try:
            for message in itertools.islice(messages, CHUNK_FRAMES):
                try:
                    row = _row_of(message)
                    channel.append(self._names.number(_channel_of(message)))
                    rows.append(row)
                except LineError as error:
                    faults.append(self._fault(error.reason))
        except Exception as error:  # the readers raise whatever their parsing raises
            return rows, channel, error
        return rows, channel, None

    def _fault(self, reason: str) -> Fault:
        return _fault_at(self._lines, reason)


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_MAX_REASON]


def _fault_at(lines: _CountedLines | None, reason: str) -> Fault:
    if lines is None:
        return Fault(None, reason, "")
    return Fault(lines.number - 1, reason, excerpt_of(lines.current.encode()))


def _block(rows: list[_Frame], channel: list[int], faults: list[Fault]) -> ParsedBlock:
    batch = LogBatch(batch_of(rows), np.array(channel, np.uint16)) if rows else empty_log_batch()
    return ParsedBlock(batch, unreadable=len(faults), faults=tuple(faults))


class _CountedLines(io.TextIOWrapper):
    """The lines of a text log, numbered from 1 and never longer than the cap."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8", errors="replace")
        self.number = 0
        self.current = ""
        self.pushed_back = ""

    def __next__(self) -> str:  # type: ignore[override] # typeshed has bytes for all of io's classes
        if self.pushed_back:
            line, self.pushed_back = self.pushed_back, ""
            return line
        line = self.readline(MAX_LINE_BYTES + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.current = line
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith("\n"):
                line = self.readline(MAX_LINE_BYTES)
            raise LineError(f"line longer than {MAX_LINE_BYTES} characters")
        return line


@contextmanager
def _dropped_lines(lines: _CountedLines | None) -> Iterator[list[Fault]]:
    """Faults for the lines of a TRC log that its reader skips with no more than a warning in Python's log."""
    faults: list[Fault] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if lines is not None and record.args == (lines.current.strip(),) and record.args != ("",):
                faults.append(_fault_at(lines, "python-can's reader cannot parse it"))

    listener = Listener(logging.WARNING)
    log = logging.getLogger("can.io.trc")
    log.addHandler(listener)
    try:
        yield faults
    finally:
        log.removeHandler(listener)


def _reader_of(path: Path, file: Any, format_name: str) -> Any:
    """python-can's reader; what it takes as file differs by format."""
    import can  # noqa: PLC0415 - most agents never need it for logs

    match format_name:
        case "asc":
            return can.ASCReader(file, relative_timestamp=False)
        case "trc":
            return can.TRCReader(file)
        case "csv":
            return can.CSVReader(file)
        case "blf":
            return can.BLFReader(file)
        case _:
            return can.MF4Reader(_plain_mf4(path, file))


def _plain_mf4(path: Path, file: BinaryIO) -> BinaryIO:
    """A file that asammdf can seek in. Raises `LogError` where asammdf is not installed."""
    if importlib.util.find_spec("asammdf") is None:
        raise LogError(path, "reading MF4 needs an extra: pip install 'can-edge-agent[mf4]'")
    if isinstance(file, io.BufferedReader):
        return file
    # Open for as long as the reader is; gone when it is.
    plain = tempfile.TemporaryFile(suffix=".mf4")  # noqa: SIM115 - outlives this function
    shutil.copyfileobj(file, plain)
    plain.seek(0)
    return plain


def _channel_of(message: Message) -> str:
    channel = message.channel
    if channel is None or isinstance(channel, int):
        return f"can{channel or 0}"
    return channel_name(str(channel).encode())


def _row_of(message: Message) -> _Frame:
    """A python-can message as a row. Raises `LineError` for what cannot have been on a bus."""
    if not math.isfinite(message.timestamp) or abs(message.timestamp) > MAX_SECONDS:
        raise LineError("timestamp out of range")
    # A double holds today's seconds to 0.2 us: more digits than microseconds would be noise.
    stamp = round(message.timestamp * 1_000_000) * 1000
    sent = 0 if message.is_rx else FrameFlag.TX
    data = bytes(message.data or b"")
    if message.is_error_frame:
        if len(data) > CLASSIC_DATA_BYTES:
            raise LineError(f"{len(data)} data bytes in an error frame")
        return stamp, message.arbitration_id & EXTENDED_ID_MASK, FrameFlag.ERROR | sent, len(data), data
    # Some writers do not set the extended bit: more than 11 bits can only be extended.
    extended = message.is_extended_id or message.arbitration_id > STANDARD_ID_MASK
    check_identifier(message.arbitration_id, extended=extended)
    flags = sent | (FrameFlag.EXTENDED if extended else 0)
    more, length = _kind_of(message, len(data))
    return stamp, message.arbitration_id, flags | more, length, b"" if message.is_remote_frame else data


def _kind_of(message: Message, present: int) -> tuple[int, int]:
    """Flags and length of a data or remote frame of `present` bytes."""
    if message.is_remote_frame:
        # CAN FD has no remote frames (ISO 11898-1): those in an FD log are classic.
        if not 0 <= message.dlc <= 15:
            raise LineError(f"{message.dlc} is no length code")
        return FrameFlag.REMOTE, message.dlc
    if message.is_fd:
        if present not in FD_LENGTHS:
            raise LineError(f"{present} is no CAN FD length")
        brs = FrameFlag.BRS if message.bitrate_switch else 0
        return FrameFlag.FD | brs | (FrameFlag.ESI if message.error_state_indicator else 0), present
    if present > CLASSIC_DATA_BYTES:
        raise LineError(f"{present} data bytes in a classic frame")
    raw_dlc = present == CLASSIC_DATA_BYTES and CLASSIC_DATA_BYTES < message.dlc <= 15
    return 0, message.dlc if raw_dlc else present
