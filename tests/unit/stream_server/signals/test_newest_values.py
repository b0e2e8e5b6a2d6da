"""One value for each signal: the columns say what a dictionary of the same values says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import SignalBatch
from can_stream.signals.checking import MAX_SIGNALS
from stream_server.signals.newest_values import NewestValues

TABLE = bytes(16)
Value = tuple[int, int, int, int]
"""(signal, time, kind, bits)."""

signals = st.integers(0, 40) | st.sampled_from([MAX_SIGNALS - 1, MAX_SIGNALS, 2**32 - 1])
values = st.tuples(signals, st.integers(-5, 5), st.integers(0, 2), st.integers(0, 2**64 - 1))
batches = st.lists(values, max_size=12)
steps = st.lists(st.tuples(st.sampled_from(["put", "put_newer", "remove"]), batches), max_size=8)


def batch(rows: Sequence[Value]) -> SignalBatch:
    signal, time, kind, bits = zip(*rows, strict=True) if rows else ((),) * 4
    return SignalBatch(
        TABLE,
        np.array(time, np.int64),
        np.array(signal, np.uint32),
        np.array(kind, np.uint8),
        np.array(bits, np.uint64),
    )


def held(newest: NewestValues) -> list[Value]:
    columns = newest.batch(TABLE, newest.signals())
    lists = (columns.signal, columns.timestamp_ns, columns.kind, columns.bits)
    return list(zip(*(column.tolist() for column in lists), strict=True))


@given(steps)
def test_it_holds_what_a_dictionary_would(doings: list[tuple[str, list[Value]]]) -> None:
    newest, expected = NewestValues(), dict[int, Value]()
    for doing, rows in doings:
        if doing == "remove":
            gone = sorted({row[0] for row in rows} & set(expected))
            newest.remove(np.array(gone, np.intp))
            for signal in gone:
                del expected[signal]
            continue
        getattr(newest, doing)(batch(rows))
        offered = {
            row[0]: row
            for row in (rows if doing == "put" else sorted(rows, key=_time))
            if row[0] < MAX_SIGNALS
        }
        for signal, row in offered.items():
            if doing == "put" or signal not in expected or _time(row) > _time(expected[signal]):
                expected[signal] = row
    assert held(newest) == [expected[signal] for signal in sorted(expected)]
    assert newest.count == len(expected)


def _time(row: Value) -> int:
    return row[1]


def test_an_old_value_does_not_take_the_place_of_a_newer_unless_it_is_live() -> None:
    newest = NewestValues()
    newest.put(batch([(3, 50, 1, 5)]))
    newest.put_newer(batch([(3, 49, 1, 4), (3, 50, 1, 6), (7, 1, 0, 1)]))
    assert held(newest) == [(3, 50, 1, 5), (7, 1, 0, 1)], "not of the same time either"
    newest.put_newer(batch([(3, 52, 1, 8), (3, 51, 1, 7)]))
    assert held(newest)[0] == (3, 52, 1, 8)
    newest.put(batch([(3, 10, 2, 9)]))
    assert held(newest)[0] == (3, 10, 2, 9)


def test_a_signal_that_was_removed_begins_anew_whatever_its_time() -> None:
    newest = NewestValues()
    newest.put(batch([(3, 50, 1, 5)]))
    newest.remove(newest.signals())
    assert (newest.count, held(newest)) == (0, [])
    newest.put_newer(batch([(3, -4, 1, 4)]))
    assert held(newest) == [(3, -4, 1, 4)]
