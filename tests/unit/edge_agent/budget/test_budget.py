"""A day's byte budget: its stages, its days, what is kept of it, and the gates it closes."""

from __future__ import annotations

import asyncio
import logging
import stat
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, batch_of
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.packets import Gap, GapReason, decode_packet
from edge_agent.budget.budget import SLOW_SECONDS, Budget, Spent, Stage, rules_at
from edge_agent.budget.budget_keeper import BudgetKeeper
from edge_agent.config.signal_rules import SignalRule
from edge_agent.host.clock import Clock
from edge_agent.lanes.gate import TELL_SECONDS, LaneGate
from edge_agent.uplink.counts import UplinkCounts
from edge_agent.uplink.uplink import Uplink

DAY_NS = 86_400 * 10**9
TODAY_NS = int(datetime(2025, 12, 22, 15, 31, tzinfo=UTC).timestamp()) * 10**9
TODAY = TODAY_NS // DAY_NS

# -- counting


@pytest.mark.parametrize(
    ("size_bytes", "stage"),
    [
        (0, Stage.EVERYTHING),
        (799, Stage.EVERYTHING),
        (800, Stage.NO_FRAMES),
        (949, Stage.NO_FRAMES),
        (950, Stage.SLOW_SIGNALS),
        (999, Stage.SLOW_SIGNALS),
        (1000, Stage.NO_SIGNALS),
        (10**12, Stage.NO_SIGNALS),
    ],
)
def test_what_is_sent_at_each_stage(size_bytes: int, stage: Stage) -> None:
    budget = Budget(1000)
    budget.add_sent(size_bytes, TODAY_NS)
    assert budget.stage is stage


def test_a_new_day_restores_everything() -> None:
    budget = Budget(1000)
    budget.add_sent(990, TODAY_NS)
    budget.add_sent(5, (TODAY + 1) * DAY_NS - 1)
    assert (budget.stage, budget.bytes_today) == (Stage.SLOW_SIGNALS, 995)
    budget.add_sent(7, (TODAY + 1) * DAY_NS)
    assert (budget.stage, budget.bytes_today) == (Stage.EVERYTHING, 7)


def test_a_day_that_is_not_known_goes_on_until_it_is() -> None:
    budget = Budget(1000, Spent(TODAY, 700))
    budget.add_sent(100, None)
    assert (budget.stage, budget.spent) == (Stage.NO_FRAMES, Spent(TODAY, 800))
    budget.add_sent(1, TODAY_NS)
    assert budget.bytes_today == 801, "it was the same day"
    budget.add_sent(50, None)
    budget.add_sent(1, TODAY_NS + DAY_NS)
    assert budget.bytes_today == 51, "what was sent while nobody knew counts for the day that it was"


def test_what_was_kept_of_an_unknown_day_counts_for_the_first_known_one() -> None:
    budget = Budget(1000, Spent(None, 300))
    budget.add_sent(10, TODAY_NS)
    assert budget.spent == Spent(TODAY, 310)


def test_the_message_says_how_much_what_until_when_and_what_to_do() -> None:
    budget = Budget(1_000_000)
    budget.add_sent(123_456, TODAY_NS)
    assert budget.message == "123,456 of 1,000,000 bytes of today's budget are spent: everything is sent"
    budget.add_sent(700_000, TODAY_NS)
    assert "frames are not sent until 2025-12-23 00:00 UTC" in budget.message
    assert "uplink.max_bytes_per_day" in budget.message
    lost = Budget(10, Spent(None, 10))
    assert "when the clock is known" in lost.message


@given(st.integers(1, 10**6), st.lists(st.tuples(st.integers(0, 10**5), st.none() | st.integers(0, 3))))
def test_every_byte_counts_for_exactly_one_day(limit: int, sent: list[tuple[int, int | None]]) -> None:
    days = sorted(day for _, day in sent if day is not None)
    budget, counted, total = Budget(limit), 0, 0
    for size, day in sent:
        known = None if day is None else days.pop(0)
        before = budget.spent
        budget.add_sent(size, None if known is None else known * DAY_NS)
        total += size
        if budget.spent.day != before.day and before.day is not None:
            counted += before.bytes_sent + size - budget.bytes_today
    assert counted + budget.bytes_today == total


# -- signals


def test_signals_go_at_their_maximum_period() -> None:
    rules = [
        SignalRule("A.*", deadband=2, minimum_period_seconds=0.1, maximum_period_seconds=10),
        SignalRule("B.*", minimum_period_seconds=300),
        SignalRule("C.*", send=False),
    ]
    assert rules_at(Stage.NO_FRAMES, rules) == rules
    assert rules_at(Stage.SLOW_SIGNALS, rules) == [
        SignalRule("A.*", deadband=2, minimum_period_seconds=10, maximum_period_seconds=10),
        SignalRule("B.*", minimum_period_seconds=300),
        SignalRule("C.*", minimum_period_seconds=SLOW_SECONDS, send=False),
        SignalRule("*", minimum_period_seconds=SLOW_SECONDS),
    ]


@given(st.floats(0, 10**6), st.none() | st.floats(0.001, 10**6), st.sampled_from([*Stage]))
def test_slow_rules_are_good_rules_and_never_faster(low: float, high: float | None, stage: Stage) -> None:
    rule = SignalRule("*", minimum_period_seconds=low, maximum_period_seconds=high)
    if not list(rule.problems()):
        slow = rules_at(stage, [rule])[0]
        assert not list(slow.problems())
        assert slow.minimum_period_seconds >= rule.minimum_period_seconds


# -- gates


def batch(first: int, count: int) -> FrameBatch:
    return batch_of((number * 10**9, number, 1, 0, b"") for number in range(first, first + count))


def sent(lane: LaneSender) -> list[FrameBatch | Gap]:
    found = []
    while (packet := lane.next_packet()) is not None:
        body = decode_packet(packet[1]).body
        assert isinstance(body, FrameBatch | Gap)
        found.append(body)
    return found


def connected_gate() -> LaneGate:
    lane = LaneSender("d", "frames", "00" * 8, WindowLimits())
    lane.connect(0.0)
    return LaneGate(lane)


def test_a_closed_gate_counts_and_what_waited_before_it_waits() -> None:
    gate = connected_gate()
    gate.pass_on(batch(0, 2), 0.0)
    gate.set_closed(1.0, closed=True)
    gate.pass_on(batch(2, 3), 1.0)
    gate.pass_on(batch(5, 4), 2.0)
    assert sent(gate.lane) == []
    gate.set_closed(3.0, closed=False)
    gate.pass_on(batch(9, 1), 3.0)
    first, gap, last = sent(gate.lane)
    assert isinstance(first, FrameBatch)
    assert isinstance(last, FrameBatch)
    assert gap == Gap(GapReason.BUDGET, 2, 7, 2 * 10**9, 8 * 10**9)
    assert (gap.reason.where, gate.left_out) == ("agent_budget", 7)
    assert (first.arbitration_id.tolist(), last.arbitration_id.tolist()) == ([0, 1], [9])


def test_a_long_stretch_is_told_every_ten_minutes_also_when_the_bus_falls_silent() -> None:
    gate = connected_gate()
    for second in range(0, 2000, 10):
        gate.set_closed(float(second), closed=True)
        if second < 700:
            gate.pass_on(batch(second, 1), float(second))
    gate.set_closed(2000.0, closed=False)
    gaps = sent(gate.lane)
    assert [gap.frames for gap in gaps if isinstance(gap, Gap)] == [TELL_SECONDS / 10, 10]


@given(st.lists(st.tuples(st.sampled_from(["take", "close", "open", "tell"]), st.integers(1, 700))))
def test_every_frame_is_sent_or_in_a_gap_with_its_time(steps: list[tuple[str, int]]) -> None:
    gate, now_seconds, number = connected_gate(), 0.0, 0
    for step, amount in steps:
        now_seconds += amount
        if step == "take":
            count = amount % 5 + 1
            gate.pass_on(batch(number, count), now_seconds)
            number += count
        elif step == "tell":
            gate.tell(now_seconds)
        else:
            gate.set_closed(now_seconds, closed=step == "close")
    gate.set_closed(now_seconds, closed=False)
    expected = 0
    for body in sent(gate.lane):
        if isinstance(body, Gap):
            assert body.frames is not None
            assert body.first_ns == expected * 10**9
            expected += body.frames
            assert body.last_ns == (expected - 1) * 10**9
        else:
            assert np.array_equal(body.arbitration_id, np.arange(expected, expected + len(body)))
            expected += len(body)
    assert expected == number


# -- what is kept


class DayClock(Clock):
    """A clock that shows `wall`."""

    def __init__(self, *, right: bool = True) -> None:
        self.wall = TODAY_NS
        self.right = right

    def wall_ns(self) -> int:
        return self.wall

    def synchronised(self) -> bool:
        return self.right


def keeper(path: Path, uplink: Any, clock: Clock, stages: list[Stage]) -> BudgetKeeper:
    return BudgetKeeper(1000, path, cast(Uplink, uplink), clock, lambda stage, _: stages.append(stage))


async def kept(path: Path, sent_bytes: int, clock: Clock, server_offset_ns: int | None = None) -> list[Stage]:
    """One run of an agent that sends so much; its stages."""
    counts = UplinkCounts()
    uplink = SimpleNamespace(counts=counts, server_offset_ns=server_offset_ns, allow_bytes=lambda _: None)
    stages: list[Stage] = []
    running = asyncio.create_task(keeper(path, uplink, clock, stages).run())
    await asyncio.sleep(0)
    counts.bytes_up = sent_bytes
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return stages


async def test_a_restart_goes_on_counting(tmp_path: Path) -> None:
    path = tmp_path / "state" / "budget-van7.json"
    assert await kept(path, 850, DayClock()) == [Stage.EVERYTHING, Stage.NO_FRAMES]
    assert await kept(path, 200, DayClock()) == [Stage.NO_FRAMES, Stage.NO_SIGNALS]
    assert [entry.name for entry in path.parent.iterdir()] == ["budget-van7.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    clock = DayClock()
    clock.wall += DAY_NS
    assert await kept(path, 1, clock) == [Stage.EVERYTHING, Stage.EVERYTHING]


async def test_while_the_clock_is_wrong_the_server_says_what_day_it_is(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    await kept(path, 850, DayClock())
    wrong = DayClock(right=False)
    wrong.wall = TODAY_NS + DAY_NS
    assert (await kept(path, 0, wrong))[0] is Stage.NO_FRAMES
    tomorrow_ns = TODAY_NS + DAY_NS - wrong.monotonic_ns()
    assert (await kept(path, 0, wrong, tomorrow_ns))[0] is Stage.EVERYTHING


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b'{"day":1}',
        b'{"day":-1,"bytes_sent":1}',
        b'{"day":99999999999,"bytes_sent":1}',
        b'{"day":1,"bytes_sent":-5}',
        b'{"day":1,"bytes_sent":1e99}',
        b"\xff" * 10_000,
    ],
)
async def test_a_count_that_cannot_be_read_is_said_and_begins_anew(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "budget.json"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert await kept(path, 10, DayClock()) == [Stage.EVERYTHING, Stage.EVERYTHING]
    assert str(path) in caplog.text
    assert "begins anew" in caplog.text
    assert b'"bytes_sent":10' in path.read_bytes()


async def test_a_place_that_cannot_be_written_is_said_and_the_count_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        assert await kept(tmp_path / "file" / "budget.json", 900, DayClock()) == [
            Stage.EVERYTHING,
            Stage.NO_FRAMES,
        ]
    assert "cannot be kept" in caplog.text


async def test_nothing_is_written_where_nothing_was_sent(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    await kept(path, 5, DayClock())
    before = path.stat().st_ino
    await kept(path, 0, DayClock())
    assert path.stat().st_ino == before
