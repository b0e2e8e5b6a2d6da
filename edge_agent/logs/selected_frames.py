"""The selected frames of logs, one log after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch
from can_stream.logs.books import LogBooks, has_date
from can_stream.logs.log_blocks import BLOCK_BYTES, LogProblem
from can_stream.logs.log_file import can_be_read_again, is_standard_input
from can_stream.logs.log_reader import LogReader, open_log
from can_stream.standard_streams import was_closed
from edge_agent.errors import ReplayError
from edge_agent.logs.selection import Met, Selection


class SelectedFrames:
    """One pass over the selected frames of all logs, file after file.

    `channels` grows; the channel column indexes it. `books` are those of the logs read so far, the last pass
    over each. `fraction` of the bytes of all logs, from 0 to 1, is read; 0 until the end of what is no file.
    """

    def __init__(self, selection: Selection, block_bytes: int = BLOCK_BYTES) -> None:
        self.channels: list[str] = []
        self.is_read = False
        self._readers: dict[int, LogReader] = {}
        self._met = Met()
        self._shift_ns: int | None = None
        self._selection = selection
        self._is_stream = selection.is_stream
        self._block_bytes = block_bytes
        self._read_bytes = 0
        self._reader: LogReader | None = None
        self._total_bytes = sum(path.stat().st_size for path in selection.paths if path.is_file())

    @property
    def fraction(self) -> float:
        """How much of the logs is read, 1 when they are empty."""
        if self.is_read:
            return 1.0
        now_bytes = self._read_bytes + (0 if self._reader is None else self._reader.bytes_read)
        if self._is_stream:
            return 0.0
        return min(1.0, now_bytes / self._total_bytes) if self._total_bytes else 1.0

    @property
    def books(self) -> list[LogBooks]:
        """What each log holds."""
        return [reader.books for reader in self._each]

    @property
    def unreadable(self) -> int:
        """How many lines or objects of all logs could not be read."""
        return sum(reader.unreadable for reader in self._each)

    @property
    def problems(self) -> list[LogProblem]:
        """The first of those of each log."""
        return [problem for reader in self._each for problem in reader.problems]

    @property
    def unmatched(self) -> list[str]:
        """What of the selection nothing fitted in what was read: to be said, for it may be misspelt."""
        return self._met.unmatched(self._selection)

    @property
    def _each(self) -> list[LogReader]:
        return [self._readers[number] for number in sorted(self._readers)]

    def __iter__(self) -> Iterator[tuple[FrameBatch, NDArray[np.uint16]]]:
        self._read_bytes = 0
        self.is_read = False
        self._shift_ns = None
        for number, path in enumerate(self._selection.paths):
            self._reader = self._readers[number] = reader = open_log(path, block_bytes=self._block_bytes)
            try:
                yield from self._selected(reader)
            finally:
                reader.close()
                self._reader = None
                self._read_bytes += reader.size_bytes or 0
        self.is_read = True

    def _selected(self, reader: LogReader) -> Iterator[tuple[FrameBatch, NDArray[np.uint16]]]:
        first_ns: int | None = None
        for batch in reader:
            frames = self._dated(batch.frames, reader)
            self._met.channels.update(reader.channels)
            if first_ns is None:
                first_ns = int(frames.timestamp_ns[0])
            keep = self._keep(frames, first_ns)
            if keep.any():
                numbers = np.array([self._number(name) for name in reader.channels], np.uint16)
                channel = numbers.take(batch.channel)
                yield (frames, channel) if keep.all() else (frames[keep], channel[keep])

    def _dated(self, frames: FrameBatch, reader: LogReader) -> FrameBatch:
        """Frames of a log without a date are moved to the start time, if there is one."""
        start_ns, first_ns = self._selection.start_time_ns, reader.first_ns
        if start_ns is None or first_ns is None or has_date(first_ns):
            return frames
        if self._shift_ns is None:
            self._shift_ns = start_ns - first_ns
        return replace(frames, timestamp_ns=shifted(frames.timestamp_ns, self._shift_ns))

    def _keep(self, frames: FrameBatch, first_ns: int) -> NDArray[np.bool_]:
        selection = self._selection
        keep = self._met.in_time(selection, frames.timestamp_ns, first_ns)
        if selection.ids:
            keep &= self._met.of_ids(selection.ids, frames)
        return keep

    def _number(self, name: str) -> int:
        shown = self._selection.channels.get(name, name)
        if shown not in self.channels:
            self.channels.append(shown)
        return self.channels.index(shown)


def check_logs(paths: Sequence[Path]) -> None:
    """Every log can be opened; a pipe is left for who reads it. Raises LogError for the first that cannot,
    before anything is played, and ReplayError."""
    if not paths:
        raise ReplayError("name at least one log")
    streams = [path for path in paths if is_standard_input(path)]
    if len(streams) > 1:
        raise ReplayError("standard input can be read once: name - once")
    if streams and was_closed("stdin"):
        raise ReplayError("standard input is closed: name a file, or send a log into this command")
    for path in paths:
        if can_be_read_again(path):
            open_log(path).close()


def shifted(timestamp_ns: NDArray[np.int64], by_ns: int) -> NDArray[np.int64]:
    """Later by so much; where that is more than the numbers hold, the last or first moment."""
    limits = np.iinfo(np.int64)
    if by_ns >= 0:
        return np.minimum(timestamp_ns, limits.max - by_ns) + by_ns
    return np.maximum(timestamp_ns, limits.min - by_ns) + by_ns
