"""Decoded frames as text: JSON lines of normalized frames, or a CSV row for each value."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch, FrameFlag, id_text
from can_stream.frames.slots import slots_of
from can_stream.signals.decoded import Decoded
from can_stream.signals.evaluate import decode
from can_stream.signals.table import SignalTable
from can_stream.text.foreign import csv_cell
from can_stream.text.frame_json import Origins, time_texts
from can_stream.text.pieces import Pieces, Places, Pool, Spans, Texts, join_lines
from can_stream.text.repeats import find_repeats
from can_stream.text.signals_json import FrameTimes, JsonLines
from can_stream.text.value_text import SeenByName, ValueTexts, values_where

CSV_HEADER: Final = ("ts", "bus", "id", "message", "signal", "value", "raw", "unit")


class Summary(Struct):
    """What was decoded and what was not; `shown`: how many frames the chosen signals left."""

    frames: int = 0
    shown: int = 0
    known: int = 0
    undecoded: int = 0
    unknown_ids: set[tuple[int, bool]] = field(default_factory=set)

    def __str__(self) -> str:
        unknown = self.frames - self.known
        return (
            f"{self.frames} frames, {self.known} of known messages; {unknown} frames of "
            f"{len(self.unknown_ids)} unknown ids; {self.undecoded} signals could not be decoded"
        )

    def as_json(self) -> dict[str, int]:
        """The same for programs."""
        return {
            "frames": self.frames,
            "known": self.known,
            "unknown_ids": len(self.unknown_ids),
            "undecoded": self.undecoded,
        }

    def add_batch(self, other: Summary) -> None:
        """Add what was counted elsewhere."""
        self.frames += other.frames
        self.shown += other.shown
        self.known += other.known
        self.undecoded += other.undecoded
        self.unknown_ids |= other.unknown_ids

    def count(self, frames: FrameBatch, decoded: Decoded, times: Places | None = None) -> None:
        """Add a batch; `times` intp[N]: how often each of its frames came, once without."""
        if times is None:
            times = np.ones(len(frames), np.intp)
        is_unknown = decoded.message < 0
        unknown = frames[is_unknown]
        total = int(times.sum())
        self.frames += total
        self.known += total - int(times[is_unknown].sum())
        self.undecoded += int(times[decoded.undecoded_row].sum())
        extended = (unknown.flags & FrameFlag.EXTENDED) != 0
        self.unknown_ids |= set(zip(unknown.arbitration_id.tolist(), extended.tolist(), strict=True))


def wanted_signals(globs: Sequence[str], table: SignalTable) -> NDArray[np.bool_] | None:
    """bool per signal: globs on MESSAGE.SIGNAL, or on SIGNAL where there is no dot; None without globs."""
    if not globs:
        return None
    names = _names(table)
    return np.array([any(fnmatchcase(name["." in glob], glob) for glob in globs) for name in names], np.bool_)


def unknown_signals(globs: Sequence[str], table: SignalTable) -> Iterator[str]:
    """A sentence for each glob that no signal of the table fits, with what is meant perhaps."""
    for glob in globs:
        names = [name["." in glob] for name in _names(table)]
        if not any(fnmatchcase(name, glob) for name in names):
            by_lower = {name.lower(): name for name in names}
            near = difflib.get_close_matches(glob.lower(), by_lower, n=1)
            hint = f": did you mean {by_lower[near[0]]}?" if near else ""
            yield f"--signals {glob}: no signal of these databases is called so{hint}"


def _names(table: SignalTable) -> list[tuple[str, str]]:
    """SIGNAL and MESSAGE.SIGNAL of each signal."""
    return [
        (signal.name, f"{table.messages[message].name}.{signal.name}")
        for signal, message in zip(table.signals, table.message_of, strict=True)
    ]


class DecodedText:
    """Lines for batches of one bus; `summary` grows. `raw` adds the unscaled numbers.

    With `signals` (globs) only those, and only frames that have one of them.
    """

    def __init__(self, table: SignalTable, signals: Sequence[str] = (), *, raw: bool = False) -> None:
        self.summary = Summary()
        self._table = table
        self._wanted = wanted_signals(signals, table)
        self._raw = raw
        self._json = JsonLines(table)
        self._csv = _CsvRows(table)

    def json_lines(self, frames: FrameBatch, origins: Origins) -> bytes:
        """One normalized frame per line, unknown ones too unless signals were chosen."""
        repeats = find_repeats(frames, origins.number)
        if repeats is None:
            shown, times = self._decoded(frames, origins), None
        else:
            kinds = Origins(origins.each, origins.number[repeats.first])
            shown = self._decoded(frames[repeats.first], kinds, np.bincount(repeats.which))
            times = shown.times(frames.timestamp_ns, repeats.which)
        return self._json.lines(
            shown.decoded, shown.frames, shown.origins, count=None, raw=self._raw, times=times
        )

    def csv_rows(self, frames: FrameBatch, origins: Origins) -> bytes:
        """One row per value: the columns of CSV_HEADER."""
        shown = self._decoded(frames, origins)
        return self._csv.rows(shown.decoded, shown.frames, shown.origins, raw=self._raw)

    def _decoded(self, frames: FrameBatch, origins: Origins, times: Places | None = None) -> _Shown:
        """`times`: how often each of the frames came."""
        decoded = decode(self._table, frames)
        self.summary.count(frames, decoded, times)
        shown = (
            _Shown(frames, origins, decoded, None)
            if self._wanted is None
            else _chosen(frames, origins, decoded, self._wanted)
        )
        self.summary.shown += shown.count(times)
        return shown


class _Shown(NamedTuple):
    """What is shown; `where` bool[N] says which of all frames these are, None if all."""

    frames: FrameBatch
    origins: Origins
    decoded: Decoded
    where: NDArray[np.bool_] | None

    def count(self, times: Places | None) -> int:
        """How many frames these are, where all frames came so often."""
        if times is None:
            return len(self.frames)
        return int(times.sum() if self.where is None else times[self.where].sum())

    def times(self, timestamp_ns: NDArray[np.int64], which: Places) -> FrameTimes:
        """When the shown ones came, given that of all frames `which` came then."""
        if self.where is None:
            return FrameTimes(timestamp_ns, which)
        came = self.where[which]
        return FrameTimes(timestamp_ns[came], (self.where.cumsum() - 1)[which[came]])


def _chosen(frames: FrameBatch, origins: Origins, decoded: Decoded, wanted: NDArray[np.bool_]) -> _Shown:
    """The wanted signals, and the frames that have one of them, decoded or not."""
    kept = values_where(decoded, wanted[decoded.signal])
    lost = wanted[decoded.undecoded_signal]
    where = np.zeros(len(frames), np.bool_)
    where[kept.row] = where[decoded.undecoded_row[lost]] = True
    number = where.cumsum() - 1
    chosen = replace(
        kept,
        message=kept.message[where],
        row=number[kept.row],
        undecoded_row=number[decoded.undecoded_row[lost]],
        undecoded_signal=decoded.undecoded_signal[lost],
    )
    return _Shown(frames[where], Origins(origins.each, origins.number[where]), chosen, where)


class _CsvRows:
    """Whole batches as CSV rows, with the texts of one table kept."""

    def __init__(self, table: SignalTable) -> None:
        self._values = ValueTexts(table, _cell)
        self._seen = SeenByName(table)
        messages = [_cell(table.messages[message].name) for message in table.message_of]
        self._names = Texts(
            [
                b"%b,%b," % (message, _cell(signal.name))
                for message, signal in zip(messages, table.signals, strict=True)
            ]
        )
        self._units = Texts([_cell(signal.unit) + b"\n" for signal in table.signals])

    def rows(self, decoded: Decoded, frames: FrameBatch, origins: Origins, *, raw: bool) -> bytes:
        """A row for each value, in the order of the frames."""
        decoded = self._seen.of(decoded)
        pool, signal = Pool(), decoded.signal.astype(np.intp)
        count = len(decoded)
        empty = Spans(np.full(count, pool.add_text(b",")), np.ones(count, np.intp))
        spans = (
            _add_times(pool, frames).of(decoded.row),
            _add_ids(pool, frames, origins).of(decoded.row),
            pool.add_all(self._names).of(signal),
            self._values.add_values(pool, decoded),
            self._values.add_raws(pool, decoded) if raw else empty,
            pool.add_all(self._units).of(signal),
        )
        return join_lines(pool, [Pieces(np.arange(count), one) for one in spans])


def _add_times(pool: Pool, frames: FrameBatch) -> Spans:
    text = time_texts(frames.timestamp_ns)
    size = text.shape[1]
    return Spans(pool.add_text(text.tobytes()) + np.arange(len(text)) * size, np.full(len(text), size))


def _add_ids(pool: Pool, frames: FrameBatch, origins: Origins) -> Spans:
    """The bus and the id of each frame, with the commas around them."""
    extended = (frames.flags & FrameFlag.EXTENDED).astype(np.uint64)
    number = origins.number.astype(np.uint64)
    slots = slots_of(frames.arbitration_id | extended << np.uint64(32) | number << np.uint64(33))
    texts = []
    columns = (frames.arbitration_id, extended, number)
    for arbitration_id, is_extended, origin in zip(*(c[slots.first].tolist() for c in columns), strict=True):
        shown = id_text(arbitration_id, extended=bool(is_extended))
        texts.append(b",%b,%b," % (_cell(origins.each[origin].bus), shown.encode()))
    return pool.add_all(Texts(texts)).of(slots.numbers())


def _cell(text: str) -> bytes:
    return csv_cell(text).encode()
