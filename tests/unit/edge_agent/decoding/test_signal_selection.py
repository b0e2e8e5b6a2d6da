"""What a signals lane carries: every change, or what the rules say."""

from __future__ import annotations

import math
import struct

import pytest

from can_stream.frames.batches import SignalBatch, batch_of
from can_stream.signals.evaluate import decode
from can_stream.signals.model import Encoding, MessageModel, SignalModel
from can_stream.signals.table import SignalTable
from edge_agent.config.signal_rules import SignalRule
from edge_agent.decoding.signal_selection import SignalSelection

TABLE = SignalTable(
    [
        MessageModel("Engine", 1, False, False, 8, (SignalModel("Speed", 0, 16), SignalModel("Gear", 16, 8))),
        MessageModel("Air", 2, False, False, 8, (SignalModel("Flow", 0, 64, encoding=Encoding.FLOAT),)),
    ]
)
SECOND = 1_000_000_000


def take(selection: SignalSelection, *frames: tuple[float, int, bytes]) -> list[tuple[float, str, float]]:
    batch = batch_of((round(at * SECOND), number, 0, len(data), data) for at, number, data in frames)
    return shown(selection.take_decoded(decode(TABLE, batch), batch))


def shown(values: SignalBatch) -> list[tuple[float, str, float]]:
    numbers = [
        struct.unpack("<d", struct.pack("<Q", bits))[0] if kind == 0 else bits
        for kind, bits in zip(values.kind.tolist(), values.bits.tolist(), strict=True)
    ]
    names = [TABLE.signals[signal].name for signal in values.signal.tolist()]
    return list(zip((values.timestamp_ns / SECOND).tolist(), names, numbers, strict=True))


def holds_back(selection: SignalSelection) -> bool:
    return selection.holds_back


def speed(value: int, gear: int = 0) -> bytes:
    return struct.pack("<HB", value, gear)


def flow(value: float) -> bytes:
    return struct.pack("<d", value)


def test_without_rules_every_change_is_sent() -> None:
    selection = SignalSelection(TABLE, [])
    assert take(selection, (0, 1, speed(5)), (1, 1, speed(5)), (2, 1, speed(6))) == [
        (0, "Speed", 5),
        (0, "Gear", 0),
        (2, "Speed", 6),
    ]
    assert take(selection, (3, 1, speed(6, 1))) == [(3, "Gear", 1)]
    assert not holds_back(selection)


def test_the_first_rule_that_matches_counts_and_others_keep_the_default() -> None:
    rules = [SignalRule("Engine.Speed"), SignalRule("Engine.*", send=False)]
    selection = SignalSelection(TABLE, rules)
    assert take(selection, (0, 1, speed(5, 3)), (1, 1, speed(6, 4)), (2, 2, flow(1.5))) == [
        (0, "Speed", 5),
        (1, "Speed", 6),
        (2, "Flow", 1.5),
    ]


def test_a_deadband_is_counted_from_the_value_sent_last() -> None:
    selection = SignalSelection(TABLE, [SignalRule("*.Flow", deadband=1.0)])
    steps = [(at, 2, flow(value)) for at, value in enumerate([10.0, 10.5, 11.0, 11.5, 11.0, 10.4])]
    assert take(selection, *steps) == [(0, "Flow", 10.0), (3, "Flow", 11.5), (5, "Flow", 10.4)]


def test_nan_and_infinity_are_news_beyond_every_deadband() -> None:
    selection = SignalSelection(TABLE, [SignalRule("*.Flow", deadband=1e9)])
    values = [1.0, math.nan, math.nan, math.inf, math.inf, -math.inf, 2.0]
    sent = take(selection, *((at, 2, flow(value)) for at, value in enumerate(values)))
    assert [at for at, _, _ in sent] == [0, 1, 3, 5, 6]


def test_within_the_minimum_period_the_newest_value_waits_with_its_own_time() -> None:
    selection = SignalSelection(TABLE, [SignalRule("*.Flow", minimum_period_seconds=1)])
    assert take(selection, (0, 2, flow(1)), (0.2, 2, flow(2)), (0.4, 2, flow(3))) == [(0, "Flow", 1)]
    assert holds_back(selection)
    assert shown(selection.expire(int(0.9 * SECOND))) == []
    assert shown(selection.expire(SECOND)) == [(0.4, "Flow", 3)]
    assert not holds_back(selection)
    assert take(selection, (1.5, 2, flow(4)), (2.1, 2, flow(5))) == [(1.5, "Flow", 4)]
    assert shown(selection.finish()) == [(2.1, "Flow", 5)]


def test_a_value_that_came_back_within_the_minimum_period_is_no_news() -> None:
    selection = SignalSelection(TABLE, [SignalRule("*.Flow", minimum_period_seconds=1)])
    assert len(take(selection, (0, 2, flow(1)), (0.2, 2, flow(2)), (0.4, 2, flow(1)))) == 1
    assert not holds_back(selection)


def test_other_frames_let_a_held_value_go() -> None:
    selection = SignalSelection(TABLE, [SignalRule("*.Flow", minimum_period_seconds=1)])
    take(selection, (0, 2, flow(1)), (0.5, 2, flow(2)))
    assert take(selection, (1.2, 1, speed(9))) == [(1.2, "Speed", 9), (1.2, "Gear", 0), (0.5, "Flow", 2)]


def test_the_maximum_period_repeats_a_value_that_frames_confirm() -> None:
    selection = SignalSelection(TABLE, [SignalRule("*.Flow", maximum_period_seconds=10)])
    assert take(selection, *((at, 2, flow(1)) for at in range(25))) == [
        (0, "Flow", 1),
        (10, "Flow", 1),
        (20, "Flow", 1),
    ]


def test_a_clock_set_back_neither_silences_nor_floods() -> None:
    rules = [SignalRule("*.Flow", minimum_period_seconds=5, maximum_period_seconds=60)]
    selection = SignalSelection(TABLE, rules)
    assert take(selection, (1000, 2, flow(1))) == [(1000, "Flow", 1)]
    assert take(selection, (10, 2, flow(1)), (11, 2, flow(1))) == [(10, "Flow", 1)]
    assert take(selection, (20, 2, flow(2))) == [(20, "Flow", 2)]


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        (SignalRule("*", minimum_period_seconds=2, maximum_period_seconds=1), "maximum_period_seconds"),
        (SignalRule("*", maximum_period_seconds=0), "maximum_period_seconds"),
        (SignalRule("*", deadband=math.inf), "deadband"),
    ],
)
def test_rules_that_make_no_sense_are_named(rule: SignalRule, key: str) -> None:
    assert [named for named, _ in rule.problems()] == [key]


def test_values_keep_the_order_of_the_frames_also_where_times_go_back() -> None:
    selection = SignalSelection(TABLE, [SignalRule("*.Gear", minimum_period_seconds=0.0001)])
    sent = take(selection, (5.0, 1, speed(1, 1)), (4.9, 1, speed(2, 2)), (4.8, 1, speed(3, 3)))
    assert [value for _, name, value in sent if name == "Speed"] == [1, 2, 3]
    assert [value for _, name, value in sent if name == "Gear"] == [1, 2, 3]
    assert [at for at, _, _ in sent] == [5.0, 5.0, 4.9, 4.9, 4.8, 4.8]
