"""Signal values as text, in whole columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from can_stream.frames.batches import ValueKind
from can_stream.signals.decoded import Decoded, choice_of
from can_stream.signals.layout import Words
from can_stream.signals.model import Encoding, SignalModel
from can_stream.signals.table import SignalTable
from can_stream.text.pieces import Places, Pool, Spans, Texts

_encode: Final = msgspec.json.Encoder().encode
_COMMA: Final = ord(",")
_MASK: Final = (1 << 64) - 1
_NOT_FINITE: Final = ("NaN", "Infinity", "-Infinity")
_INT64: Final = (-(1 << 63), (1 << 63) - 1)


class ValueTexts:
    """The texts of a table's values, each with a comma behind it.

    Numbers are as in JSON; names of choices, NaN and infinities as `quote` writes them.
    """

    def __init__(self, table: SignalTable, quote: Callable[[str], bytes]) -> None:
        self._table = table
        self._quote = quote
        self._choices = _Choices(table.signals)
        self._choice_texts = Texts([quote(name) + b"," for name in self._choices.names])
        self._not_finite = Texts([quote(name) + b"," for name in _NOT_FINITE])

    def add_values(self, pool: Pool, decoded: Decoded) -> Spans:
        """Each value's text."""
        start, length = spans = self._add_numbers(pool, decoded.kind, decoded.bits)
        places, choice = self._choices.find(decoded)
        if len(places):
            start[places], length[places] = pool.add_all(self._choice_texts).of(choice)
        for place, (raw, value) in decoded.wide.items():
            name = choice_of(self._table.signals[decoded.signal[place]], raw)
            text = _encode(value) if name is None else self._quote(name)
            start[place], length[place] = pool.add_text(text + b","), len(text) + 1
        return spans

    def add_raws(self, pool: Pool, decoded: Decoded) -> Spans:
        """Each raw value's text."""
        start, length = spans = self._add_numbers(pool, self._table.raw_kind[decoded.signal], decoded.raw)
        for place, (raw, _) in decoded.wide.items():
            text = _encode(raw) + b","
            start[place], length[place] = pool.add_text(text), len(text)
        return spans

    def _add_numbers(self, pool: Pool, kind: NDArray[np.uint8], bits: Words) -> Spans:
        order = kind.argsort(kind="stable")
        # In the order of ValueKind.
        parts = np.split(bits[order], np.bincount(kind, minlength=len(ValueKind)).cumsum()[:-1])
        floats = parts[0].view(np.float64)
        text = _encode([*floats.tolist(), *parts[1].view(np.int64).tolist(), *parts[2].tolist()])[1:-1] + b","
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _COMMA)[: len(bits)] + 1
        spans = Spans(np.empty(len(bits), np.intp), np.empty(len(bits), np.intp))
        spans.length[order] = lengths = np.diff(ends, prepend=0)
        spans.start[order] = pool.add_text(text) + ends - lengths
        odd = np.flatnonzero(~np.isfinite(floats))
        if len(odd):
            which = np.where(np.isnan(floats[odd]), 0, np.where(floats[odd] > 0, 1, 2))
            places = order[odd]
            spans.start[places], spans.length[places] = pool.add_all(self._not_finite).of(which)
        return spans


class SeenByName:
    """Of values that bear one name in one frame the last is seen; messages can name a signal twice."""

    def __init__(self, table: SignalTable) -> None:
        self._names = [(table.message_of[at], signal.name) for at, signal in enumerate(table.signals)]
        times = Counter(self._names)
        self._is_repeated = np.array([times[name] > 1 for name in self._names], np.bool_)
        self._any = bool(self._is_repeated.any())

    def of(self, decoded: Decoded) -> Decoded:
        """`decoded` without the values that are not seen."""
        if not self._any:
            return decoded
        places = np.flatnonzero(self._is_repeated[decoded.signal])
        last: dict[tuple[int, tuple[int, str]], int] = {}
        for place in places.tolist():
            last[int(decoded.row[place]), self._names[decoded.signal[place]]] = place
        where = np.ones(len(decoded), np.bool_)
        where[places] = False
        where[list(last.values())] = True
        return values_where(decoded, where)


def values_where(decoded: Decoded, where: NDArray[np.bool_]) -> Decoded:
    """`decoded` with those of its M values that are `where` true."""
    number = where.cumsum() - 1
    return replace(
        decoded,
        row=decoded.row[where],
        signal=decoded.signal[where],
        kind=decoded.kind[where],
        bits=decoded.bits[where],
        raw=decoded.raw[where],
        wide={int(number[place]): exact for place, exact in decoded.wide.items() if where[place]},
    )


class _Choices:
    """Finds the choices of raw values. `names`: those of all signals."""

    def __init__(self, signals: Sequence[SignalModel]) -> None:
        found = [
            (at, raw & _MASK, name)
            for at, signal in enumerate(signals)
            for raw, name in signal.choices.items()
            if _is_possible(signal, raw)
        ]
        self._raws = np.array(sorted({raw for _, raw, _ in found}), np.uint64)
        ranks = np.searchsorted(self._raws, np.array([raw for _, raw, _ in found], np.uint64))
        keys = np.array([at for at, _, _ in found], np.intp) * len(self._raws) + ranks
        order = keys.argsort()
        self._keys = keys[order]
        self.names = [found[at][2] for at in order.tolist()]
        self._has_choices = np.array([bool(signal.choices) for signal in signals], np.bool_)
        self._is_float = np.array([signal.encoding is Encoding.FLOAT for signal in signals], np.bool_)

    def find(self, decoded: Decoded) -> tuple[Places, Places]:
        """(places of the values that have a choice, which)."""
        places = np.flatnonzero(self._has_choices[decoded.signal]) if len(self._keys) else decoded.row[:0]
        if not len(places):
            return places, places
        signal, raw = decoded.signal[places].astype(np.intp), decoded.raw[places]
        floats = self._is_float[signal]
        if floats.any():
            places, signal, raw = _cut_to_integers(places, signal, raw, floats)
        rank = np.minimum(self._raws.searchsorted(raw), len(self._raws) - 1)
        keys = signal * len(self._raws) + rank
        at = np.minimum(self._keys.searchsorted(keys), len(self._keys) - 1)
        hit = (self._raws[rank] == raw) & (self._keys[at] == keys)
        return places[hit], at[hit]


def _is_possible(signal: SignalModel, raw: int) -> bool:
    low, high = _INT64 if signal.encoding is Encoding.FLOAT else signal.raw_limits
    return low <= raw <= high and signal.length <= 64


def _cut_to_integers(
    places: Places, signal: Places, raw: Words, floats: NDArray[np.bool_]
) -> tuple[Places, Places, Words]:
    """Raw floats as integers, those left out that are none of 64 bits."""
    number = np.where(floats, raw.view(np.float64), 0.0)
    fits = np.abs(number) < 2.0**63
    cut = np.where(fits, number, 0.0).astype(np.int64).view(np.uint64)
    return places[fits], signal[fits], np.where(floats, cut, raw)[fits]
