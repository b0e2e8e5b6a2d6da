"""Signal rules over batches give what they give value by value, however the frames are cut."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import batch_of
from can_stream.signals.evaluate import decode
from can_stream.signals.model import MessageModel, SignalModel
from can_stream.signals.table import SignalTable
from edge_agent.config.signal_rules import SignalRule
from edge_agent.decoding.signal_selection import SignalSelection

TABLE = SignalTable(
    [
        MessageModel(f"M{n}", n, False, False, 2, (SignalModel("A", 0, 8), SignalModel("B", 8, 8)))
        for n in (0, 1)
    ]
)
Sent = tuple[int, int, int]

periods = st.sampled_from([0.0, 3e-9, 10e-9])
rules_lists = st.lists(
    st.builds(
        SignalRule,
        match=st.sampled_from(["M0.A", "M1.*", "*.B", "*"]),
        deadband=st.sampled_from([0.0, 1.0, 2.5]),
        minimum_period_seconds=periods,
        maximum_period_seconds=st.sampled_from([None, 12e-9, 40e-9]),
        send=st.booleans(),
    ),
    max_size=3,
)
# Mostly the same, so that periods end while nothing changes.
values = st.sampled_from([0, 0, 0, 0, 1, 2, 4])
frames_lists = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 1), st.tuples(values, values)),
    max_size=60,
)


def by_value(rule: SignalRule | None, seen: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The (time, value) pairs sent of one signal."""
    rule = rule or SignalRule("*")
    if not rule.send:
        return []
    minimum, maximum = int(rule.minimum_period_seconds * 1e9), rule.maximum_period_seconds
    sent: list[tuple[int, int]] = []
    before: int | None = None
    at, held = 0, None
    for time, value in seen:
        if held is not None and time - at >= minimum:
            sent.append(held)
            at, held = at + minimum, None
        overdue = bool(sent) and maximum is not None and time - at >= int(maximum * 1e9)
        if value != before or overdue:
            news = not sent or (value != sent[-1][1] and abs(value - sent[-1][1]) > rule.deadband)
            if not news and not overdue:
                held = None
            elif sent and time - at < minimum:
                held = (time, value)
            else:
                sent.append((time, value))
                at, held = time, None
        before = value
    return sent if held is None else [*sent, held]


@given(frames_lists, rules_lists, st.lists(st.integers(1, 20), max_size=8))
def test_rules_do_not_depend_on_how_frames_are_cut(
    frames: list[tuple[int, int, tuple[int, int]]], rules: list[SignalRule], cuts: list[int]
) -> None:
    rows, time = [], 0
    seen: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for step, number, data in frames:
        time += step
        rows.append((time, number, 0, 2, bytes(data)))
        for index, value in enumerate(data):
            seen[2 * number + index].append((time, value))
    selection = SignalSelection(TABLE, rules)
    got: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    begin = 0
    batches = []
    for size in [*cuts, len(rows)]:
        batch = batch_of(rows[begin : begin + size])
        begin += size
        batches.append(selection.take_decoded(decode(TABLE, batch), batch))
    for values in [*batches, selection.finish()]:
        columns = (values.timestamp_ns.tolist(), values.signal.tolist(), values.bits.tolist())
        for at, signal, bits in zip(*columns, strict=True):
            got[signal].append((at, bits))
    names = [f"{message.name}.{signal.name}" for message in TABLE.messages for signal in message.signals]
    for signal, name in enumerate(names):
        rule = next((rule for rule in rules if _fits(rule.match, name)), None)
        assert got[signal] == by_value(rule, seen[signal]), name


def _fits(match: str, name: str) -> bool:
    return (
        match in ("*", name) or (match == "M1.*" and name[:2] == "M1") or (match == "*.B" and name[3:] == "B")
    )
