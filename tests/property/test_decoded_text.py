"""Whole batches as JSON lines say what the functions for one frame say, and what the decoder says; any texts

are put together as plain concatenation does; CSV reads back.
"""

from __future__ import annotations

import csv
import io
import json
import math
from random import Random
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from can_stream.frames.batches import FrameBatch
from can_stream.signals.decoded import Value
from can_stream.signals.evaluate import decode
from can_stream.signals.model import Encoding, MessageModel, SignalModel
from can_stream.signals.table import SignalTable
from can_stream.text.foreign import csv_cell
from can_stream.text.frame_json import FrameOrigin, Origins, can_frame_json, rows_of
from can_stream.text.pieces import Pieces, Pool, Texts, join_behind, join_lines
from can_stream.text.signals_json import JsonLines, frame_members, value_json
from edge_agent.decoding.decoded_text import DecodedText
from tests.helpers.strategies import frame_batches

# Signs that JSON or CSV must quote, and texts longer than what is copied at once.
NAMES = st.text("aB_ ,\"'\\\n\té\U0001f600\0", max_size=8) | st.text("xy,", min_size=120, max_size=300)
FACTORS = st.sampled_from([1, 2, -3, 0.5, 0.1, -0.25, 1e16, 1e300, 1.0, 2**62])


@st.composite
def signals(draw: st.DrawFn, earlier: list[SignalModel]) -> SignalModel:
    encoding = draw(st.sampled_from(Encoding))
    is_float = encoding is Encoding.FLOAT
    length = draw(st.sampled_from([16, 32, 64]) if is_float else st.integers(1, 72))
    selectors = [at for at, other in enumerate(earlier) if other.encoding is not Encoding.FLOAT
                 and other.length <= 64]  # fmt: skip
    selector = draw(st.sampled_from([-1, -1, *selectors]))
    names = st.sampled_from([other.name for other in earlier]) if earlier else NAMES
    return SignalModel(
        draw(NAMES | NAMES | names),
        draw(st.integers(0, 40)),
        length,
        draw(st.booleans()),
        encoding,
        draw(FACTORS),
        draw(st.just(0) | FACTORS),
        draw(NAMES),
        draw(st.dictionaries(st.integers(-2, 9) | st.sampled_from([2**63, 2**64 - 1]), NAMES, max_size=4)),
        selector,
        ((0, draw(st.integers(0, 200))),) if selector >= 0 else (),
    )


@st.composite
def tables(draw: st.DrawFn, batch: FrameBatch) -> SignalTable:
    """Messages for some of the ids that the batch has."""
    known = sorted({(row.arbitration_id, bool(row.flags & 1)) for row in rows_of(batch)})
    messages = []
    for arbitration_id, extended in known:
        placed: list[SignalModel] = []
        for _ in range(draw(st.integers(-1, 4))):
            placed.append(draw(signals(placed)))
        valid = extended or arbitration_id < 0x800
        if valid and draw(st.booleans()):
            messages.append(MessageModel(draw(NAMES), arbitration_id, extended, False, 8, tuple(placed)))
    return SignalTable(messages)


@st.composite
def work(draw: st.DrawFn) -> tuple[SignalTable, FrameBatch]:
    batch = draw(frame_batches(max_size=12))
    return draw(tables(batch)), batch


def from_json(value: object) -> object:
    """What JSON has to say in words."""
    return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(str(value), value)


def same(shown: object, value: Value) -> bool:
    if isinstance(value, float):
        shown = from_json(shown)
        return type(shown) is float and repr(shown) == repr(value)
    return type(shown) is type(value) and shown == value


@given(work(), st.sampled_from([None, 1]), st.booleans())
@settings(deadline=None)
def test_lines_say_what_the_decoder_says(
    both: tuple[SignalTable, FrameBatch], count: int | None, raw: bool
) -> None:
    table, batch = both
    decoded, origin = decode(table, batch), FrameOrigin("van7-can0", "can0")
    lines = JsonLines(table).lines(decoded, batch, origin, count=count, raw=raw).split(b"\n")
    assert lines.pop() == b""
    for at, (line, row) in enumerate(zip(lines, rows_of(batch), strict=True)):
        single = can_frame_json(row, origin, count, frame_members(decoded, at, raw=raw))
        shown, values = json.loads(line), decoded.values_of(at)
        assert json.dumps(shown, sort_keys=True) == json.dumps(json.loads(single), sort_keys=True)
        message = decoded.message_name(at)
        if message is not None and len({s.name for s in table.signals}) == len(table.signals):
            assert line == single
        assert shown.get("message") == message
        assert shown.get("undecoded", []) == decoded.undecoded_of(at)
        check(shown.get("signals", {}), values)
        if raw:
            check(shown.get("signals_raw", {}), decoded.raw_of(at))


def check(shown: dict[str, Any], values: dict[str, Any]) -> None:
    assert shown.keys() == values.keys()
    for name, value in values.items():
        assert same(shown[name], value), (name, shown[name], value)


@given(st.integers() | st.floats() | NAMES)
def test_a_value_comes_back_from_json_with_its_type(value: Value) -> None:
    assert same(json.loads(value_json(value)), value)


def cell_of(text: str | None) -> str:
    """As it reads back: foreign text is shown, never obeyed."""
    ((cell,),) = csv.reader([csv_cell(text)]) if text else (("",),)
    return cell


@given(work(), st.booleans())
@settings(deadline=None)
def test_csv_has_every_value_in_a_row_that_reads_back(
    both: tuple[SignalTable, FrameBatch], raw: bool
) -> None:
    table, batch = both
    decoded = decode(table, batch)
    origins = Origins(
        (FrameOrigin(None, "can,0"), FrameOrigin(None, "b")), np.arange(len(batch), dtype=np.uint16) % 2
    )
    text = DecodedText(table, raw=raw).csv_rows(batch, origins).decode()
    told: list[list[str]] = []
    for at, row in enumerate(rows_of(batch)):
        frame = json.loads(can_frame_json(row, origins.each[at % 2], None))
        head = (frame["ts"], frame["bus"], frame["id"], decoded.message_name(at))
        raws = decoded.raw_of(at)
        told += [
            [cell_of(one) for one in (*head, name, plain(value), plain(raws[name]) if raw else "")]
            for name, value in decoded.values_of(at).items()
        ]
    # What a name that occurs twice does to the order is of no interest.
    assert sorted(row[:7] for row in csv.reader(io.StringIO(text, newline=""))) == sorted(told)


@given(work(), st.data(), st.booleans(), st.sampled_from([(), ("*",), ("a*", "B*"), ("no such",)]))
@settings(deadline=None)
def test_what_repeats_is_written_as_what_does_not(
    both: tuple[SignalTable, FrameBatch], data: st.DataObject, raw: bool, globs: tuple[str, ...]
) -> None:
    table, batch = both
    # Many in one batch repeat each other; each in a batch of its own repeats nothing.
    some = st.lists(st.integers(0, len(batch) - 1), max_size=60) if len(batch) else st.just([])
    rows = np.array(data.draw(some), np.intp)
    origins = Origins(
        (FrameOrigin(None, "can0"), FrameOrigin(None, "b")), np.arange(len(batch), dtype=np.uint16) % 2
    )
    together, apart = (DecodedText(table, globs, raw=raw) for _ in range(2))
    frames = replace(batch[rows], timestamp_ns=np.arange(len(rows)) * 1_000_003)
    text = together.json_lines(frames, Origins(origins.each, origins.number[rows]))
    each = [
        apart.json_lines(frames[at : at + 1], Origins(origins.each, origins.number[rows[at : at + 1]]))
        for at in range(len(rows))
    ]
    assert text.decode() == b"".join(each).decode()
    assert together.summary == apart.summary


def plain(value: Value) -> str:
    return value if isinstance(value, str) else value_json(value).decode().strip('"')


TEXTS = st.binary(max_size=60) | st.binary(min_size=120, max_size=140) | st.binary(min_size=250, max_size=800)


@given(st.lists(st.lists(TEXTS, max_size=4), max_size=6), st.integers(0, 1 << 17))
def test_pieces_are_joined_as_written(lines: list[list[bytes]], first: int) -> None:
    pool, columns = Pool(), []
    for turn in range(4):
        having = [at for at, pieces in enumerate(lines) if len(pieces) > turn]
        spans = pool.add_all(Texts([lines[at][turn] for at in having]))
        columns.append(Pieces(np.array(having, np.intp) + first, spans))
    assert join_lines(pool, columns) == b"".join(piece for pieces in lines for piece in pieces)


@given(st.lists(TEXTS, max_size=12), st.integers(1, 70), st.randoms(use_true_random=False))
def test_texts_are_joined_behind_their_heads(texts: list[bytes], size: int, random: Random) -> None:
    heads = [random.randbytes(size) for _ in texts]
    pool = Pool()
    rest = pool.add_all(Texts(texts))
    rows = np.frombuffer(b"".join(heads), np.uint8).reshape(-1, size)
    expected = b"".join(head + text for head, text in zip(heads, texts, strict=True))
    assert join_behind(rows, pool, rest) == expected
