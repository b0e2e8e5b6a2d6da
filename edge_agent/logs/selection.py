"""Which frames of which logs a replay plays, under which channel names (pure but for reading the files)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from can_stream.frames.batches import EXTENDED_ID_MASK, STANDARD_ID_MASK, FrameBatch, FrameFlag
from can_stream.logs.log_blocks import BLOCK_BYTES, LogProblem
from can_stream.logs.log_reader import LogReader, open_log
from edge_agent.errors import ReplayError


class TimeBound(Struct, frozen=True):
    """A moment in a log: nanoseconds UTC, or since the log's first frame."""

    value_ns: int
    is_absolute: bool

    def resolve(self, first_ns: int) -> int:
        """The moment in nanoseconds UTC, for a log that begins at `first_ns`."""
        return self.value_ns if self.is_absolute else first_ns + self.value_ns


def parse_time_bound(text: str) -> TimeBound:
    """Seconds from the log's first frame, or an ISO 8601 time (UTC where it names no zone). ValueError."""
    try:
        return TimeBound(round(float(text) * 1e9), is_absolute=False)
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither seconds nor a time like 2025-01-05T08:00:00") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return TimeBound(round(moment.timestamp() * 1e6) * 1000, is_absolute=True)


class IdRange(Struct, frozen=True):
    """Arbitration ids first to last, standard or extended."""

    first: int
    last: int
    is_extended: bool


def parse_id_range(text: str) -> IdRange:
    """`7E8`, `0x7E8`, `18DAF110` or `700-7FF`, hexadecimal; over three digits means extended. ValueError."""
    parts = [part.strip().lower().removeprefix("0x") for part in text.split("-")]
    if len(parts) > 2 or not all(part and set(part) <= set("0123456789abcdef") for part in parts):
        raise ValueError(f"{text!r} is no arbitration id: write 7E8, 18DAF110 or 700-7FF")
    is_extended = any(len(part) > 3 for part in parts)
    first, last = int(parts[0], 16), int(parts[-1], 16)
    if not first <= last <= (EXTENDED_ID_MASK if is_extended else STANDARD_ID_MASK):
        raise ValueError(f"{text!r} is out of range")
    return IdRange(first, last, is_extended)


class Selection(Struct, frozen=True):
    """What of the logs is played. `channels` renames: {name in the log: name to play it under}."""

    paths: Sequence[Path]
    start: TimeBound | None = None
    end: TimeBound | None = None
    ids: Sequence[IdRange] = ()
    channels: Mapping[str, str] = field(default_factory=dict)


class SelectedFrames:
    """One pass over the selected frames of all logs, file after file.

    `channels` grows; the channel column indexes it. `unreadable` and `problems` are those of the logs;
    `untimed` are the logs that hold no times. `fraction` of the bytes of all logs, from 0 to 1, is read.
    """

    def __init__(self, selection: Selection, block_bytes: int = BLOCK_BYTES) -> None:
        self.channels: list[str] = []
        self.unreadable = 0
        self.problems: list[LogProblem] = []
        self.untimed: set[Path] = set()
        self._selection = selection
        self._block_bytes = block_bytes
        self._read_bytes = 0
        self._reader: LogReader | None = None
        self._total_bytes = sum(path.stat().st_size for path in selection.paths if path.is_file())

    @property
    def fraction(self) -> float:
        """How much of the logs is read, 1 when they are empty."""
        now_bytes = self._read_bytes + (0 if self._reader is None else self._reader.bytes_read)
        return min(1.0, now_bytes / self._total_bytes) if self._total_bytes else 1.0

    def __iter__(self) -> Iterator[tuple[FrameBatch, NDArray[np.uint16]]]:
        self._read_bytes = 0
        for path in self._selection.paths:
            self._reader = reader = open_log(path, block_bytes=self._block_bytes)
            if not reader.has_timestamps:
                self.untimed.add(path)
            try:
                yield from self._selected(reader)
            finally:
                self.unreadable += reader.unreadable
                self.problems += reader.problems
                reader.close()
                self._reader = None
                self._read_bytes += reader.size_bytes

    def _selected(self, reader: LogReader) -> Iterator[tuple[FrameBatch, NDArray[np.uint16]]]:
        first_ns: int | None = None
        for batch in reader:
            frames = batch.frames
            if first_ns is None:
                first_ns = int(frames.timestamp_ns[0])
            keep = self._keep(frames, first_ns)
            if keep.any():
                numbers = np.array([self._number(name) for name in reader.channels], np.uint16)
                channel = numbers.take(batch.channel)
                yield (frames, channel) if keep.all() else (frames[keep], channel[keep])

    def _keep(self, frames: FrameBatch, first_ns: int) -> NDArray[np.bool_]:
        selection = self._selection
        keep = np.ones(len(frames), np.bool_)
        if selection.start is not None:
            keep &= frames.timestamp_ns >= selection.start.resolve(first_ns)
        if selection.end is not None:
            keep &= frames.timestamp_ns < selection.end.resolve(first_ns)
        if selection.ids:
            is_extended = (frames.flags & FrameFlag.EXTENDED) != 0
            wanted = np.zeros(len(frames), np.bool_)
            for one in selection.ids:
                inside = (frames.arbitration_id >= one.first) & (frames.arbitration_id <= one.last)
                wanted |= inside & (is_extended == one.is_extended)
            keep &= wanted
        return keep

    def _number(self, name: str) -> int:
        shown = self._selection.channels.get(name, name)
        if shown not in self.channels:
            self.channels.append(shown)
        return self.channels.index(shown)


def check_logs(paths: Sequence[Path]) -> None:
    """Every log can be opened. Raises LogError for the first that cannot, before anything is played."""
    if not paths:
        raise ReplayError("name at least one log")
    for path in paths:
        open_log(path).close()
