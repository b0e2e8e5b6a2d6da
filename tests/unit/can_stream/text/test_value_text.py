"""Signal values as text in whole columns: each as JSON writes it, with the name that it has."""

from __future__ import annotations

import json
import struct

import numpy as np

from can_stream.signals.decoded import Decoded
from can_stream.signals.evaluate import decode
from can_stream.signals.model import Encoding, MessageModel, SignalModel
from can_stream.signals.table import SignalTable
from can_stream.text.pieces import Pool, Spans
from can_stream.text.value_text import SeenByName, ValueTexts, values_where
from tests.helpers.cantools_oracle import frames_of


def table_of(*messages: tuple[SignalModel, ...]) -> SignalTable:
    return SignalTable(
        MessageModel(f"M{number}", number, False, False, 8, signals)
        for number, signals in enumerate(messages)
    )


def decoded(table: SignalTable, *payloads: bytes) -> Decoded:
    """One frame of the first message for each payload."""
    return decode(table, frames_of([(0, False, payload.ljust(8, b"\0")) for payload in payloads]))


def quote(name: str) -> bytes:
    return f"<{name}>".encode()


def cut(pool: Pool, spans: Spans) -> list[str]:
    content = pool.content().tobytes()
    return [
        content[start : start + length].decode()
        for start, length in zip(spans.start.tolist(), spans.length.tolist(), strict=True)
    ]


def texts_of(values: Decoded) -> list[str]:
    pool = Pool()
    pool.add_text(b"something before")
    return cut(pool, ValueTexts(values.table, quote).add_values(pool, values))


def raws_of(values: Decoded) -> list[str]:
    pool = Pool()
    return cut(pool, ValueTexts(values.table, quote).add_raws(pool, values))


def test_values_of_all_kinds_stand_in_their_order_with_a_comma_behind_each() -> None:
    table = table_of(
        (
            SignalModel("Unsigned", 0, 8),
            SignalModel("Half", 8, 8, scale=0.5),
            SignalModel("Signed", 16, 8, encoding=Encoding.SIGNED),
            SignalModel("Shifted", 24, 8, scale=2, offset=-10),
        )
    )
    values = decoded(table, bytes([200, 3, 0xFF, 4]), bytes([0, 4, 1, 5]))
    assert texts_of(values) == ["200,", "1.5,", "-1,", "-2,", "0,", "2.0,", "1,", "0,"]
    assert raws_of(values) == ["200,", "3,", "-1,", "4,", "0,", "4,", "1,", "5,"]


def test_names_of_choices_go_before_numbers_and_never_before_raw_numbers() -> None:
    gear = SignalModel(
        "Gear", 0, 8, encoding=Encoding.SIGNED, scale=10, choices={-1: "Reverse", 3: "Third", 300: "no"}
    )
    plain = SignalModel("Plain", 8, 8)
    values = decoded(table_of((gear, plain)), b"\xff\x03", b"\x03\x00", b"\x02\xff")
    assert texts_of(values) == ["<Reverse>,", "3,", "<Third>,", "0,", "20,", "255,"]
    assert raws_of(values) == ["-1,", "3,", "3,", "0,", "2,", "255,"]


def test_floats_that_are_no_number_are_quoted_and_choices_of_floats_are_those_of_their_integers() -> None:
    signal = SignalModel("Float", 0, 64, encoding=Encoding.FLOAT, choices={2: "two", -1: "minus one"})
    numbers = [float("nan"), float("inf"), float("-inf"), 2.9, -1.0, 0.1, 1e300, -0.0]
    values = decoded(table_of((signal,)), *(struct.pack("<d", number) for number in numbers))
    expected = ["<NaN>,", "<Infinity>,", "<-Infinity>,", "<two>,", "<minus one>,", "0.1,", "1e300,", "-0.0,"]
    assert texts_of(values) == expected
    assert raws_of(values)[:6] == ["<NaN>,", "<Infinity>,", "<-Infinity>,", "2.9,", "-1.0,", "0.1,"]


def test_no_integer_loses_a_bit_however_wide() -> None:
    most = SignalModel("Most", 0, 64, choices={2**64 - 2: "last but one"})
    tenfold = SignalModel("Tenfold", 0, 64, scale=10)
    values = decoded(table_of((most, tenfold)), b"\xff" * 8, b"\xfe" + b"\xff" * 7)
    most_text, ten = str(2**64 - 1), str((2**64 - 1) * 10)
    assert texts_of(values) == [f"{most_text},", f"{ten},", "<last but one>,", f"{(2**64 - 2) * 10},"]
    assert raws_of(values)[:2] == [f"{most_text},", f"{most_text},"]
    wide = SignalModel("Wide", 0, 72, choices={5: "five"})
    table = SignalTable([MessageModel("W", 0, False, False, 12, (wide,))])
    payloads = [(5).to_bytes(12, "little"), (2**70 + 1).to_bytes(12, "little")]
    values = decode(table, frames_of([(0, False, one) for one in payloads]))
    assert texts_of(values) == ["<five>,", f"{2**70 + 1},"]
    assert raws_of(values) == ["5,", f"{2**70 + 1},"]


def test_no_values_are_no_texts() -> None:
    table = table_of((SignalModel("S", 0, 8, choices={1: "one"}),))
    values = decode(table, frames_of([(5, False, b"\1")]))
    assert (texts_of(values), raws_of(values)) == ([], [])


def test_texts_are_json() -> None:
    signals = tuple(
        SignalModel(f"S{n}", n, 8, scale=scale) for n, scale in enumerate((1, 0.1, -3, 1e-9, 1e18))
    )
    values = decoded(table_of(signals), bytes(range(8)), b"\xff" * 8)
    texts = "".join(texts_of(values))
    expected = [number for row in values.rows() for number in (row or {}).values()]
    assert json.loads(f"[{texts[:-1]}]") == expected


def seen(values: Decoded) -> list[tuple[int, int]]:
    """(frame, signal) of what is seen."""
    kept = SeenByName(values.table).of(values)
    return list(zip(kept.row.tolist(), kept.signal.tolist(), strict=True))


def test_of_two_signals_of_one_name_in_a_frame_the_last_is_seen() -> None:
    once, twice = SignalModel("Once", 0, 8), SignalModel("Twice", 8, 8)
    again = SignalModel("Twice", 16, 8)
    values = decoded(table_of((once, twice, again), (SignalModel("Once", 0, 8),)), b"\1\2\3", b"\4\5\6")
    assert seen(values) == [(0, 0), (0, 2), (1, 0), (1, 2)]
    names = values.values_of(1)
    assert names == {"Once": 4, "Twice": 6}, "as who reads one frame sees it"


def test_where_only_the_first_of_one_name_is_there_it_is_seen() -> None:
    selector = SignalModel("Which", 0, 8)
    one, two = (SignalModel("Same", 8 * n, 8, selector=0, ranges=((n, n),)) for n in (1, 2))
    values = decoded(table_of((selector, one, two)), b"\1\7\7", b"\2\7\7")
    assert seen(values) == [(0, 0), (0, 1), (1, 0), (1, 2)]


def test_without_repeated_names_nothing_is_copied() -> None:
    values = decoded(table_of((SignalModel("A", 0, 8), SignalModel("B", 8, 8))), b"\1\2")
    assert SeenByName(values.table).of(values) is values


def test_exact_values_stay_with_their_places_when_others_go() -> None:
    signals = (SignalModel("A", 0, 8), SignalModel("Tenfold", 0, 64, scale=10), SignalModel("C", 0, 8))
    values = decoded(table_of(signals), b"\xff" * 8)
    kept = values_where(values, np.array([False, True, True]))
    assert (kept.signal.tolist(), list(kept.wide)) == ([1, 2], [0])
    assert texts_of(kept) == [f"{(2**64 - 1) * 10},", "255,"]
    assert list(values_where(values, np.array([True, False, True])).wide) == []
