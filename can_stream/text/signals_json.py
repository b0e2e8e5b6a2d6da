"""What a database knows of frames, as JSON: the members it adds to normalized `can_frame` objects.

Choices appear as their names, integers with all their bits, NaN and infinities (which JSON has not) as the
strings "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch
from can_stream.signals.decoded import Decoded, Value
from can_stream.signals.table import SignalTable
from can_stream.text.frame_json import FrameOrigin, Origins, beginnings, frame_columns, time_column
from can_stream.text.pieces import Pieces, Places, Pool, Spans, Texts, join_behind, join_lines
from can_stream.text.value_text import SeenByName, ValueTexts

_encode: Final = msgspec.json.Encoder().encode
_LINE_FEED: Final = ord("\n")
_NOT_FINITE: Final = {math.inf: "Infinity", -math.inf: "-Infinity"}


def value_json(value: Value) -> bytes:
    """One signal value."""
    return _encode(_finite(value))


def values_json(values: Mapping[str, Value]) -> bytes:
    """An object of signal values."""
    return _encode({name: _finite(value) for name, value in values.items()})


def frame_members(decoded: Decoded, row: int, *, raw: bool = False) -> bytes:
    """`,"message":"EngineData","signals":{"EngineSpeed":812.5}` of one frame, b"" for unknown messages.

    With `raw`, `signals_raw` has the unscaled numbers. `undecoded` only where there are such signals.
    """
    message = decoded.message_name(row)
    if message is None:
        return b""
    members = b',"message":' + _encode(message) + b',"signals":' + values_json(decoded.values_of(row))
    if raw:
        members += b',"signals_raw":' + values_json(decoded.raw_of(row))
    undecoded = decoded.undecoded_of(row)
    return members + b',"undecoded":' + _encode(undecoded) if undecoded else members


def _finite(value: Value) -> Value:
    if isinstance(value, float) and not math.isfinite(value):
        return _NOT_FINITE.get(value, "NaN")
    return value


class FrameTimes(NamedTuple):
    """When frames came, in order: `timestamp_ns` int64[N], and which of them, `row` intp[N]."""

    timestamp_ns: NDArray[np.int64]
    row: Places


class JsonLines:
    """Whole batches as normalized frames, with the texts of one table kept."""

    def __init__(self, table: SignalTable) -> None:
        self._values = ValueTexts(table, _encode)
        names = [_encode(signal.name) for signal in table.signals]
        self._names = Texts([name + b":" for name in names])
        self._listed_names = Texts([name + b"," for name in names])
        self._openings = Texts(
            [b',"message":' + _encode(message.name) + b',"signals":{' for message in table.messages]
        )
        self._seen = SeenByName(table)

    def lines(
        self,
        decoded: Decoded,
        frames: FrameBatch,
        origin: FrameOrigin | Origins,
        *,
        count: int | None,
        raw: bool = False,
        times: FrameTimes | None = None,
    ) -> bytes:
        """A line for each frame: `can_frame_json` with the `frame_members` of the frame.

        With `times` a line for each of those instead; what is said of a frame is put together once.
        A member whose name a message has twice stands where its last value is.
        """
        pool = Pool()
        bodies = self._bodies(pool, decoded, frames, origin, count, raw=raw)
        if times is None:
            return join_lines(pool, [time_column(pool, frames.timestamp_ns), *bodies])
        text, pool = join_lines(pool, bodies), Pool()
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _LINE_FEED) + 1
        lengths = np.diff(ends, prepend=0)
        rest = Spans(pool.add_text(text) + ends - lengths, lengths).of(times.row)
        return join_behind(beginnings(times.timestamp_ns), pool, rest)

    def _bodies(
        self,
        pool: Pool,
        decoded: Decoded,
        frames: FrameBatch,
        origin: FrameOrigin | Origins,
        count: int | None,
        *,
        raw: bool,
    ) -> list[Pieces]:
        """All of the lines but the times that they begin with."""
        decoded = self._seen.of(decoded)
        known = np.flatnonzero(decoded.message >= 0)
        columns = frame_columns(pool, frames, origin)
        columns.append(Pieces(known, pool.add_all(self._openings).of(decoded.message[known])))
        names = pool.add_all(self._names).of(decoded.signal.astype(np.intp))
        columns.append(_members(decoded.row, names, self._values.add_values(pool, decoded)))
        if raw:
            columns.append(_constant(pool, known, b'},"signals_raw":{'))
            columns.append(_members(decoded.row, names, self._values.add_raws(pool, decoded)))
        return [*columns, *self._ends(pool, decoded, count)]

    def _ends(self, pool: Pool, decoded: Decoded, count: int | None) -> list[Pieces]:
        """What comes behind the last value of each frame."""
        columns = []
        which = (decoded.message >= 0).astype(np.intp)
        row = decoded.undecoded_row
        if len(row):
            listed = pool.add_all(self._listed_names).of(decoded.undecoded_signal.astype(np.intp))
            _drop_last_commas(row, listed.length)
            lines = row[np.flatnonzero(np.diff(row, prepend=-1))]
            columns = [_constant(pool, lines, b'},"undecoded":['), Pieces(row, listed)]
            which[lines] = 2
        counted = b"}\n" if count is None else b',"count":%d}\n' % count
        ends = pool.add_all(Texts([counted, b"}" + counted, b"]" + counted])).of(which)
        return [*columns, Pieces(np.arange(len(which)), ends)]


def _members(row: Places, names: Spans, values: Spans) -> Pieces:
    """Names and values in turn, without the commas behind the last ones."""
    _drop_last_commas(row, values.length)
    start, length = (np.stack(pair, axis=1).ravel() for pair in zip(names, values, strict=True))
    return Pieces(row.repeat(2), Spans(start, length))


def _drop_last_commas(row: Places, length: Places) -> None:
    length[np.flatnonzero(np.diff(row, append=-1))] -= 1


def _constant(pool: Pool, lines: Places, text: bytes) -> Pieces:
    return Pieces(lines, Spans(np.full(len(lines), pool.add_text(text)), np.full(len(lines), len(text))))
