"""What of logs is played, under which channel names, as users say it, and what of that was there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from can_stream.frames.batches import EXTENDED_ID_MASK, STANDARD_ID_MASK, FrameBatch, FrameFlag
from can_stream.logs.log_file import can_be_read_again
from can_stream.text.frame_json import time_texts

Rows = NDArray[np.bool_]
# Between the years 1900 and 2100, so that no moment of a log overflows what counts nanoseconds.
_FIRST_NS: Final = -2_208_988_800 * 10**9
_LAST_NS: Final = 4_133_980_800 * 10**9


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


def parse_start_time(text: str) -> int:
    """ns UTC of an ISO 8601 time (UTC where it names no zone) or of seconds since 1970. ValueError."""
    try:
        bound = parse_time_bound(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time like 2025-01-05T08:00:00 or 2025-01-05T08:00:00+01:00"
        ) from None
    if not _FIRST_NS <= bound.value_ns <= _LAST_NS:
        raise ValueError(f"{text!r} is out of range: the years 1900 to 2100 are meant")
    return bound.value_ns


class IdRange(Struct, frozen=True):
    """Arbitration ids first to last, standard or extended."""

    first: int
    last: int
    is_extended: bool

    def __str__(self) -> str:
        digits = 8 if self.is_extended else 3
        ends = [f"{end:0{digits}X}" for end in (self.first, self.last)]
        return ends[0] if self.first == self.last else "-".join(ends)


def parse_id_range(text: str) -> IdRange:
    """`7E8`, `0x7E8`, `18DAF110` or `700-7FF`, hexadecimal; over three digits means extended. ValueError."""
    parts = [part.strip().lower().removeprefix("0x") for part in text.split("-")]
    if len(parts) > 2 or not all(part and set(part) <= set("0123456789abcdef") for part in parts):
        raise ValueError(f"{text!r} is no arbitration id: write 7E8, 18DAF110 or 700-7FF")
    is_extended = any(len(part) > 3 for part in parts)
    first, last = int(parts[0], 16), int(parts[-1], 16)
    if not first <= last <= (EXTENDED_ID_MASK if is_extended else STANDARD_ID_MASK):
        raise ValueError(
            f"{text!r} is out of range: ids go to 7FF, extended ones to 1FFFFFFF, the lower one first"
        )
    return IdRange(first, last, is_extended)


class Selection(Struct, frozen=True):
    """What of the logs is played. `channels` renames: {name in the log: name to play it under}.

    `start_time_ns`: when the first frame was of the first log that has no date; the others without a date
    are as far from it as their times say.
    """

    paths: Sequence[Path]
    start: TimeBound | None = None
    end: TimeBound | None = None
    ids: Sequence[IdRange] = ()
    channels: Mapping[str, str] = field(default_factory=dict)
    start_time_ns: int | None = None

    @property
    def is_stream(self) -> bool:
        """Whether a log is a pipe or standard input, which can be read once, and may be slow."""
        return not all(map(can_be_read_again, self.paths))


class Met:
    """What of a selection was met in the frames of logs."""

    def __init__(self) -> None:
        self.channels: set[str] = set()
        self._ids: set[IdRange] = set()
        self._is_in_time = False
        self._span_ns: tuple[int, int] | None = None

    def in_time(self, selection: Selection, timestamp_ns: NDArray[np.int64], first_ns: int) -> Rows:
        """bool[N]: whether a frame lies within the bounds, for a log that begins at `first_ns`."""
        keep = np.ones(len(timestamp_ns), np.bool_)
        if selection.start is None and selection.end is None:
            return keep
        if selection.start is not None:
            keep &= timestamp_ns >= selection.start.resolve(first_ns)
        if selection.end is not None:
            keep &= timestamp_ns < selection.end.resolve(first_ns)
        first, last = int(timestamp_ns.min()), int(timestamp_ns.max())
        before = self._span_ns or (first, last)
        self._span_ns = min(before[0], first), max(before[1], last)
        self._is_in_time |= bool(keep.any())
        return keep

    def of_ids(self, ids: Sequence[IdRange], frames: FrameBatch) -> Rows:
        """bool[N]: whether a frame has one of the ids."""
        is_extended = (frames.flags & FrameFlag.EXTENDED) != 0
        wanted = np.zeros(len(frames), np.bool_)
        for one in ids:
            inside = (frames.arbitration_id >= one.first) & (frames.arbitration_id <= one.last)
            inside &= is_extended == one.is_extended
            if one not in self._ids and inside.any():
                self._ids.add(one)
            wanted |= inside
        return wanted

    def unmatched(self, selection: Selection) -> list[str]:
        """What of the selection nothing fitted, each in a sentence."""
        said = []
        bounds = [f"--{name}" for name in ("start", "end") if getattr(selection, name) is not None]
        if bounds and self._span_ns is not None and not self._is_in_time:
            first, last = (time_texts(np.array([ns])).tobytes().decode() for ns in self._span_ns)
            said.append(f"{' and '.join(bounds)}: no frame lies there; they are from {first} to {last}")
        said += [f"--id {one}: no frame has it" for one in selection.ids if one not in self._ids]
        there = ", ".join(sorted(self.channels)) or "none"
        return said + [
            f"--map {before}={after}: no channel is called {before}; there is {there}"
            for before, after in selection.channels.items()
            if before not in self.channels
        ]
