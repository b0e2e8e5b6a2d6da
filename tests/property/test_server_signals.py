"""Signals at the server against simple models: uploads, last values, what a console is shown."""

from __future__ import annotations

import itertools
import json

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import SignalBatch
from can_stream.protocol.control import SignalTablePart as Part
from can_stream.protocol.errors import SessionError
from can_stream.signals.checking import MAX_SIGNALS
from can_stream.signals.choices import named
from can_stream.signals.exact import scaled
from can_stream.signals.model import Encoding, SignalModel
from can_stream.signals.table import MAX_COMPRESSED_BYTES, SignalTable
from stream_server.agents.table_uploads import MAX_UPLOADS, TableUploads
from stream_server.http.signal_views import signal_views
from stream_server.signals.last_values import LastValues, restored
from stream_server.streams.console_signals import signals_json
from stream_server.streams.signal_sampler import ShownMessage, SignalSampler
from tests.helpers.signal_tables import table_of

HASHES = [f"{number:032x}" for number in range(6)]
Row = tuple[int, int, int, int]


def batch(table_hash: str, rows: list[Row]) -> SignalBatch:
    """Values from (timestamp_ns, signal, kind, bits)."""
    times, signals, kinds, bits = zip(*rows, strict=True) if rows else ([], [], [], [])
    return SignalBatch(
        bytes.fromhex(table_hash),
        np.array(times, np.int64),
        np.array(signals, np.uint32),
        np.array(kinds, np.uint8),
        np.array(bits, np.uint64),
    )


# --- uploads

BODIES = st.dictionaries(st.sampled_from(HASHES), st.binary(min_size=1, max_size=40), min_size=1)


@given(BODIES, st.data())
def test_tables_whose_parts_come_in_order_arrive_whole(bodies: dict[str, bytes], data: st.DataObject) -> None:
    uploads = TableUploads()
    assert uploads.ask([*bodies, *bodies]) == list(bodies)
    assert uploads.ask(bodies) == []
    waiting, open_now, got = dict.fromkeys(bodies, 0), list[str](), dict[str, bytes]()
    while waiting:
        may_go_on = open_now if len(open_now) == MAX_UPLOADS else list(waiting)
        one = data.draw(st.sampled_from(may_go_on))
        at = waiting[one]
        size = data.draw(st.integers(1, len(bodies[one]) - at))
        whole = uploads.take_part(Part(one, len(bodies[one]), at, bodies[one][at : at + size]))
        waiting[one] += size
        if one not in open_now:
            open_now.append(one)
        if whole is not None:
            got[one] = whole
            del waiting[one]
            open_now.remove(one)
    assert got == bodies


SIZES = st.sampled_from([1, 2, 3, 5, MAX_COMPRESSED_BYTES + 1])
PARTS = st.builds(Part, st.sampled_from(HASHES), SIZES, st.integers(0, 5), st.binary(max_size=3))


@given(st.lists(PARTS, max_size=30))
def test_parts_in_any_order_give_a_table_or_the_documented_error(parts: list[Part]) -> None:
    uploads = TableUploads()
    uploads.ask(HASHES[:5])
    came: dict[str, list[Part]] = {}
    for part in parts:
        try:
            whole = uploads.take_part(part)
        except SessionError:
            continue
        assert part.hash in HASHES[:5]
        mine = came.setdefault(part.hash, [])
        mine.append(part)
        assert {one.size for one in mine} == {part.size}
        together = b"".join(one.part for one in mine)
        assert part.offset == len(together) - len(part.part)
        assert whole == (together if len(together) == part.size else None)
        assert sum(sum(len(p.part) for p in mine) < mine[0].size for mine in came.values()) <= MAX_UPLOADS
        assert part.size <= MAX_COMPRESSED_BYTES


# --- last values

ROWS = st.lists(
    st.tuples(
        st.integers(0, 9), st.sampled_from([0, 1, 2, 40, MAX_SIGNALS - 1, MAX_SIGNALS, 2**32 - 1]),
        st.integers(0, 2), st.integers(0, 2**64 - 1),
    ),
    max_size=8,
)  # fmt: skip
Step = tuple[str, str | None, list[Row]]
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["live", "backlog"]), st.sampled_from(HASHES[:2]), ROWS),
        st.tuples(st.just("declare"), st.sampled_from([*HASHES[:2], None]), st.just([])),
        st.tuples(st.just("restart"), st.none(), st.just([])),
    ),
    max_size=12,
)


class Model:
    """The rules of last values, one row at a time."""

    def __init__(self) -> None:
        self.current: str | None = None
        self.declared: str | None = None
        self.values: dict[int, Row] = {}

    def begin(self, table_hash: str | None) -> None:
        if table_hash != self.current:
            self.current, self.values = table_hash, {}

    def step(self, what: str, table_hash: str | None, rows: list[Row]) -> None:
        if what == "declare" and table_hash != self.declared:
            self.declared = table_hash
            self.begin(table_hash)
        elif what == "restart":
            self.declared = self.current
        elif what == "live":
            self.begin(table_hash)
            self.values |= {row[1]: row for row in rows if row[1] < MAX_SIGNALS}
        elif what == "backlog" and table_hash == self.current:
            newest = {row[1]: row for row in sorted(rows, key=lambda row: row[0]) if row[1] < MAX_SIGNALS}
            for signal, row in newest.items():
                if signal not in self.values or row[0] > self.values[signal][0]:
                    self.values[signal] = row


@given(STEPS)
def test_last_values_are_what_one_row_at_a_time_gives(steps: list[Step]) -> None:
    values, model = LastValues(None), Model()
    for what, table_hash, rows in steps:
        model.step(what, table_hash, rows)
        if what == "live" and table_hash is not None:
            values.take_live(batch(table_hash, rows))
        elif what == "backlog" and table_hash is not None:
            values.take_backlog(batch(table_hash, rows))
        elif what == "declare":
            values.declare(table_hash)
        elif values.table_hash is not None:
            values = restored(values.table_hash, values.to_bytes())
        else:
            values = LastValues(None)
        columns = values.columns()
        listed = zip(
            columns.timestamp_ns.tolist(), columns.signal.tolist(), columns.kind.tolist(),
            columns.bits.tolist(), strict=True,
        )  # fmt: skip
        assert list(listed) == [model.values[signal] for signal in sorted(model.values)]
        assert (values.table_hash, len(values)) == (model.current, len(model.values))


# --- what a console is shown

TABLE = table_of({f"M{m}": [SignalModel(f"S{m}{s}", s, 1) for s in range(3)] for m in range(4)})
INSTANCES = st.lists(
    st.tuples(st.integers(0, 3), st.sets(st.integers(0, 2), min_size=1)), min_size=0, max_size=12
)
BEATS = st.lists(st.tuples(INSTANCES, st.booleans()), min_size=1, max_size=30)
TICK_SECONDS = 0.05


class Bus:
    """Counts through the values of a bus, so that each is told from every other."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def send(self, instances: list[tuple[int, set[int]]], beat: int) -> SignalBatch:
        fresh: list[Row] = []
        for place, (message, signals) in enumerate(instances):
            for signal in sorted(signals):
                at_ns = beat * 50_000_000 + place * 1000
                fresh.append((at_ns, message * 3 + signal, 2, len(self.rows) + len(fresh)))
        self.rows += fresh
        return batch(TABLE.hash.hex(), fresh)


def rows_of(shown: list[ShownMessage]) -> list[Row]:
    return [
        row
        for one in shown
        for row in zip(
            one.values.timestamp_ns.tolist(), one.values.signal.tolist(), one.values.kind.tolist(),
            one.values.bits.tolist(), strict=True,
        )
    ]  # fmt: skip


@given(BEATS, st.sampled_from([3, 40, 10_000, None]), st.integers(0, 10))
def test_the_newest_value_of_every_signal_is_shown_and_none_after_a_newer_one(
    beats: list[tuple[list[tuple[int, set[int]]], bool]], limit: int | None, table_at: int
) -> None:
    sampler, bus = SignalSampler(), Bus()
    shown: list[ShownMessage] = []
    shown_at: list[float] = []
    heard_at = 0.0
    for beat, (instances, ticks) in enumerate(beats):
        now = beat * TICK_SECONDS
        table = TABLE if beat >= table_at else None
        if instances:
            heard_at = now
            sampler.offer(bus.send(instances, beat), table, limit, now)
        if ticks:
            fresh = sampler.tick(table, limit, now)
            shown += fresh
            shown_at += [now] * len(fresh) * (now - heard_at < 0.7)
    if limit is not None:
        assert all(
            late - early >= 1.0 - 1e-9 for early, late in zip(shown_at, shown_at[limit:], strict=False)
        )
    silent_since = (len(beats) - 1) * TICK_SECONDS
    for step in range(1, 20):
        shown += sampler.tick(TABLE, limit, silent_since + step * TICK_SECONDS)
    assert not sampler.merged
    rows = rows_of(shown)
    newest = {row[1]: row for row in bus.rows}
    assert {row[1]: row for row in rows} == newest
    for signal in newest:
        mine = [row[3] for row in rows if row[1] == signal]
        assert mine == sorted(set(mine))
    assert set(rows) <= set(bus.rows)
    if limit in (None, 10_000) and table_at == 0:
        assert rows == bus.rows, "below the limit nothing is left out"


@given(BEATS)
def test_neighbouring_rows_of_one_time_and_message_are_one_event(
    beats: list[tuple[list[tuple[int, set[int]]], bool]],
) -> None:
    sampler, bus = SignalSampler(), Bus()
    shown: list[ShownMessage] = []
    for beat, (instances, _) in enumerate(beats):
        if instances:
            sampler.offer(bus.send(instances, beat), TABLE, None, 0.0)
        shown += sampler.tick(TABLE, None, 0.0)
    groups = itertools.groupby(bus.rows, key=lambda row: (row[0], row[1] // 3))
    expected = [(at_ns, message, len(list(rows))) for (at_ns, message), rows in groups]
    assert [(one.timestamp_ns, one.message, len(one.values)) for one in shown] == expected


# --- choices

SCALES = st.one_of(
    st.sampled_from([1, 2, -1, 0.1, 0.5, 1e-3, 1 / 3, 1e9]), st.integers(-1000, 1000).filter(bool)
)
OFFSETS = st.one_of(st.sampled_from([0, -40, 0.1, -273.15, 10**6]), st.integers(-1000, 1000))


@given(SCALES, OFFSETS, st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_a_choice_is_found_by_its_value_and_by_no_other(
    scale: int | float, offset: int | float, raw: int, step: int
) -> None:
    signal = SignalModel("S", 0, 32, scale=scale, offset=offset, choices={raw: "chosen"})
    value = scaled(signal, raw + step)
    is_chosen = value == scaled(signal, raw)
    assert named(signal, value) == ("chosen" if is_chosen else value)


@given(SCALES, OFFSETS, st.integers(-(2**15), 2**15), st.integers(0, 2))
def test_a_choice_of_a_float_signal_is_found(
    scale: int | float, offset: int | float, raw: int, step: int
) -> None:
    encoding = Encoding.FLOAT
    signal = SignalModel("S", 0, 32, encoding=encoding, scale=scale, offset=offset, choices={raw: "chosen"})
    value = scaled(signal, float(raw + step))
    assert named(signal, value) == ("chosen" if step == 0 else value)


@given(
    st.one_of(st.floats(), st.integers(-(2**63), 2**64 - 1)),
    st.one_of(st.floats(), st.integers(-(2**63), 2**64 - 1)),
    st.one_of(st.floats(), st.integers(-(2**63), 2**64 - 1)),
    st.sampled_from(Encoding),
)
def test_any_value_of_any_signal_is_itself_or_a_choice(
    value: int | float, scale: int | float, offset: int | float, encoding: Encoding
) -> None:
    signal = SignalModel("S", 0, 32, encoding=encoding, scale=scale, offset=offset, choices={1: "one"})
    found = named(signal, value)
    assert found == "one" or found is value


# --- whatever a table says and a packet holds can be shown

NUMBERS = st.one_of(st.floats(), st.integers(-(2**63), 2**64 - 1))
MODELS = st.builds(
    SignalModel,
    name=st.text(max_size=5),
    start=st.just(0),
    length=st.sampled_from([16, 32, 64]),
    encoding=st.sampled_from(Encoding),
    scale=NUMBERS,
    offset=NUMBERS,
    unit=st.text(max_size=3),
    choices=st.dictionaries(st.integers(-(2**63), 2**64 - 1), st.text(max_size=3), max_size=3),
)
SHOWN_ROWS = st.lists(
    st.tuples(st.integers(-(2**62), 2**62), st.integers(0, 5), st.integers(0, 2), st.integers(0, 2**64 - 1)),
    min_size=1,
    max_size=8,
)


@given(st.lists(MODELS, min_size=1, max_size=4), SHOWN_ROWS)
def test_whatever_a_table_says_and_a_packet_holds_is_shown_as_json(
    models: list[SignalModel], rows: list[Row]
) -> None:
    table = table_of({"M": models[:2], "N": models[2:]})
    table_hash = table.hash.hex()
    sampler, values = SignalSampler(), LastValues(table_hash)
    sampler.offer(batch(table_hash, rows), table, None, 0.0)
    values.take_live(batch(table_hash, rows))
    numbers = {row[1] for row in rows if row[1] < len(models)}
    shown = [json.loads(signals_json(one, "van7-can0")) for one in sampler.tick(table, None, 0.0)]
    assert {name for event in shown for name in event["values"]} == {models[n].name for n in numbers}
    views = [json.loads(msgspec.json.encode(view)) for view in signal_views(values.columns(), table)]
    assert [view["signal"] for view in views] == [models[number].name for number in sorted(numbers)]
    for view in views:
        assert view["value"] == view["number"] or view["value"] in view["choices"].values()


def test_the_table_of_these_tests_is_numbered_as_they_think() -> None:
    assert isinstance(TABLE, SignalTable)
    assert TABLE.message_of == tuple(number // 3 for number in range(12))
