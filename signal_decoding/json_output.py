"""What a database knows of frames, as JSON: the members it adds to normalized `can_frame` objects (pure).

Choices appear as their names, integers with all their bits, NaN and infinities (which JSON has not) as the
strings "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from signal_decoding.decoded import Decoded, Value
from signal_decoding.table import SignalTable
from signal_decoding.value_text import SeenByName, ValueTexts
from wire_protocol.batches import FrameBatch
from wire_protocol.normalized import FrameOrigin, Origins, frame_columns
from wire_protocol.pieces import Pieces, Places, Pool, Spans, Texts, join_lines

_encode: Final = msgspec.json.Encoder().encode
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
    ) -> bytes:
        """A line for each frame: `can_frame_json` with the `frame_members` of the frame.

        A member whose name a message has twice stands where its last value is.
        """
        decoded = self._seen.of(decoded)
        pool = Pool()
        known = np.flatnonzero(decoded.message >= 0)
        columns = frame_columns(pool, frames, origin)
        columns.append(Pieces(known, pool.add_all(self._openings).of(decoded.message[known])))
        names = pool.add_all(self._names).of(decoded.signal.astype(np.intp))
        columns.append(_members(decoded.row, names, self._values.add_values(pool, decoded)))
        if raw:
            columns.append(_constant(pool, known, b'},"signals_raw":{'))
            columns.append(_members(decoded.row, names, self._values.add_raws(pool, decoded)))
        return join_lines(pool, [*columns, *self._ends(pool, decoded, count)])

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
    return Pieces(lines, Spans(np.full(len(lines), pool.add(text)), np.full(len(lines), len(text))))
