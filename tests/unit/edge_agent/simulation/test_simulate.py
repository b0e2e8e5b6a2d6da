"""Simulated traffic: cycle times, counters, choices, multiplexers; our own databases and made-up ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from msgspec.structs import replace

from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate
from can_stream.signals.decoded import Decoded, Value
from can_stream.signals.evaluate import decode
from can_stream.signals.model import Encoding, MessageModel, SignalModel
from can_stream.signals.table import SignalTable
from edge_agent.simulation.messages import simulated_messages
from edge_agent.simulation.payloads import SimulatedMessage
from edge_agent.simulation.traffic import MAX_LATE_SECONDS, Timetable, Traffic
from edge_agent.simulation.values import Limits, raw_range

DATABASES: Final = sorted((Path(__file__).resolve().parents[4] / "dbc").glob("*.dbc"))
SECOND: Final = 10**9


def message(
    *signals: SignalModel, limits: Sequence[Limits] = (), cycle_seconds: float = 0.01, fd: bool = False,
    **fields: Any,
) -> SimulatedMessage:  # fmt: skip
    whole = {"name": "M", "arbitration_id": 0x100, "is_extended": False, "by_pgn": False, "length": 8}
    model = MessageModel(**{**whole, **fields}, signals=signals)
    return SimulatedMessage(model, cycle_seconds, fd, tuple(limits or [(None, None)] * len(signals)))


def decoded(messages: Sequence[SimulatedMessage], frames: FrameBatch) -> Decoded:
    return decode(SignalTable([one.model for one in messages]), frames)


def values(
    *signals: SignalModel, seconds: int = 60, choices: bool = False, **fields: Any
) -> dict[str, list[Value]]:
    """What each signal of one message is in the course of time."""
    one = message(*signals, **fields)
    rows = list(decoded([one], Traffic([one]).before(seconds * SECOND)).rows(choices=choices))
    assert len(rows) == seconds * 100
    return {
        signal.name: [row[signal.name] for row in rows if row and signal.name in row] for signal in signals
    }


def turns(numbers: Sequence[Value]) -> list[Value]:
    """Without what is the same as before."""
    return [numbers[0], *(after for before, after in pairwise(numbers) if after != before)]


@pytest.mark.parametrize("path", DATABASES, ids=lambda path: path.stem)
def test_every_message_comes_at_its_own_cycle_with_values_within_its_limits(path: Path) -> None:
    messages = simulated_messages([path])[0]
    frames = Traffic(messages).before(20 * SECOND)
    assert (np.diff(frames.timestamp_ns) >= 0).all()
    for one in messages:
        times = frames.timestamp_ns[frames.arbitration_id == one.model.arbitration_id]
        assert times[0] < one.cycle_seconds * SECOND
        assert set(np.diff(times).tolist()) == {round(one.cycle_seconds * SECOND)}
    found = decoded(messages, frames)
    assert len(found.undecoded_row) == 0
    seen: set[str] = set()
    for at, row in enumerate(found.rows(choices=False)):
        assert row is not None
        one = messages[int(found.message[at])]
        for signal, (minimum, maximum) in zip(one.model.signals, one.limits, strict=True):
            value = row.get(signal.name)
            assert not isinstance(value, str)
            assert value is None or minimum is None or minimum <= value
            assert value is None or maximum is None or value <= maximum
        seen |= {f"{one.model.name}.{name}" for name in row}
    assert seen == {f"{one.model.name}.{signal.name}" for one in messages for signal in one.model.signals}


def test_cycle_times_are_those_of_the_database_or_100_ms(tmp_path: Path) -> None:
    by_name = {one.model.name: one.cycle_seconds for one in simulated_messages(DATABASES)[0]}
    assert by_name["Engine"] == 0.02
    assert by_name["Climate"] == 1.0
    assert by_name["EEC1"] == 0.02
    assert by_name["ObdAnswer1"] == 0.1


def test_the_database_listed_first_wins(tmp_path: Path) -> None:
    def database(name: str) -> Path:
        path = tmp_path / f"{name}.dbc"
        path.write_text(f'VERSION ""\nBU_: E\nBO_ 256 {name}: 1 E\n SG_ S : 0|8@1+ (1,0) [3|5] "" E\n')
        return path

    only = simulated_messages([database("First"), database("Second")])[0]
    assert [one.model.name for one in only] == ["First"]
    assert only[0].limits == ((3, 5),)


def test_the_same_seed_makes_the_same_traffic_whatever_the_windows() -> None:
    messages = simulated_messages(DATABASES)[0]
    whole = Traffic(messages, seed=7).before(SECOND)
    in_windows = Traffic(messages, seed=7)
    assert concatenate([in_windows.before(end) for end in range(0, SECOND + 1, SECOND // 8)]).equals(whole)
    assert not Traffic(messages, seed=8).before(SECOND).equals(whole)


def test_a_rate_changes_all_cycles_by_the_same_factor() -> None:
    messages = simulated_messages(DATABASES)[0]
    plain, fast = Traffic(messages), Traffic(messages, rate=8000)
    assert plain.frames_per_second == pytest.approx(sum(1 / one.cycle_seconds for one in messages))
    assert fast.frames_per_second == pytest.approx(8000)
    frames = fast.before(10 * SECOND)
    assert len(frames) == pytest.approx(80_000, rel=0.001)
    factor = plain.frames_per_second / 8000
    for one in messages:
        times = frames.timestamp_ns[frames.arbitration_id == one.model.arbitration_id]
        assert np.diff(times).mean() == pytest.approx(one.cycle_seconds * factor * SECOND, abs=1)


def test_counters_count_by_one_and_wrap_at_their_limit() -> None:
    counted = values(
        SignalModel("AliveCounter", 0, 8),
        SignalModel("RollingCode", 8, 16, big_endian=True),
        SignalModel("Msg_CNT", 24, 4),
        SignalModel("Nibble", 28, 4),
        limits=[(None, None), (None, None), (1, 14), (None, None)],
    )
    assert counted["AliveCounter"] == [number % 256 for number in range(6000)]
    assert counted["RollingCode"] == list(range(6000))
    assert counted["Msg_CNT"] == [1 + number % 14 for number in range(6000)]
    assert counted["Nibble"] == [number % 16 for number in range(6000)]


def test_sweeps_are_slow_and_reach_nearly_both_limits() -> None:
    signals = [
        SignalModel("Speed", 0, 16, big_endian=True, scale=0.1),
        SignalModel("Angle", 16, 12, encoding=Encoding.SIGNED, scale=-0.5, offset=3),
        SignalModel("Wide", 28, 30, scale=2),
    ]
    limits: list[Limits] = [(0, 250), (-300.2, 300.2), (None, None)]
    swept = values(*signals, limits=limits)
    for signal, (minimum, maximum) in zip(signals, (*limits[:2], (0, 2**31)), strict=True):
        assert minimum is not None
        assert maximum is not None
        numbers = [float(value) for value in swept[signal.name]]
        span = maximum - minimum
        assert minimum <= min(numbers) < minimum + span / 50
        assert maximum >= max(numbers) > maximum - span / 50
        assert max(abs(after - before) for before, after in pairwise(numbers)) < span / 50


def test_choices_are_gone_through_and_special_ones_left_out() -> None:
    gear = SignalModel("Gear", 0, 3, choices={0: "P", 1: "R", 2: "N", 3: "D"})
    level = SignalModel("Level", 8, 8, scale=0.5, choices={254: "Error", 255: "Not available"})
    seen = values(gear, level, choices=True)
    steps = turns(seen["Gear"])
    assert set(steps) == {"P", "R", "N", "D"}
    assert {*pairwise(steps)} == {("P", "R"), ("R", "N"), ("N", "D"), ("D", "P")}
    levels = [value for value in seen["Level"] if not isinstance(value, str)]
    assert len(levels) == len(seen["Level"])
    assert max(levels) > 120


@pytest.mark.parametrize(("bits", "big_endian"), [(16, False), (32, True), (64, False)])
def test_floats_move_within_their_limits_or_from_0_to_100(bits: int, big_endian: bool) -> None:
    float_ = SignalModel("F", 0, bits, big_endian, Encoding.FLOAT, scale=0.5)
    for limits, low, high in (((None, None), 0, 100), ((-3.4e38, 3.4e38), -1e6, 1e6), ((-2, 2), -2, 2)):
        numbers = [float(value) for value in values(float_, limits=[limits])["F"]]
        most = 65504 * 0.5 if bits == 16 else high
        assert max(low, -most) <= min(numbers) < max(numbers) <= min(high, most)
        assert max(numbers) - min(numbers) > 0.9 * (min(high, most) - max(low, -most))


def test_every_multiplexer_value_comes_in_turn_and_below_it_what_it_selects() -> None:
    outer = SignalModel("Outer", 0, 8)
    inner = SignalModel("Inner", 8, 8, selector=0, ranges=((2, 2),))
    a = SignalModel("A", 16, 8, selector=0, ranges=((1, 1), (5, 5)))
    deep = SignalModel("DeepCounter", 16, 8, selector=1, ranges=((7, 8),))
    always = SignalModel("Counter", 24, 8)
    seen = values(outer, inner, a, deep, always)
    assert seen["Outer"][:4] == [1, 2, 2, 5]
    assert seen["Inner"][:4] == [7, 8, 7, 8]
    # Once a round for each of the two values that select it.
    assert seen["DeepCounter"][:6] == [0, 0, 1, 1, 2, 2]
    assert seen["Counter"][:300] == [number % 256 for number in range(300)]
    assert len(seen["A"]) == 3000


def test_all_parameters_of_obd_come_in_turn() -> None:
    only = [one for one in simulated_messages(DATABASES)[0] if one.model.name == "ObdAnswer1"]
    frames = Traffic(only).before(30 * SECOND)
    rows = list(decoded(only, frames).rows())
    assert {row["FrameType"] for row in rows if row} >= {"Single frame", "First frame"}
    assert len({row["Pid"] for row in rows if row and "Pid" in row}) == 111


def test_of_signals_over_the_same_bits_the_first_is_right() -> None:
    seen = values(
        SignalModel("FirstCounter", 0, 8), SignalModel("Second", 4, 8), SignalModel("ThirdCounter", 12, 4)
    )
    assert seen["FirstCounter"] == [number % 256 for number in range(6000)]
    assert seen["ThirdCounter"] == [number % 16 for number in range(6000)]


@pytest.mark.parametrize("start", [0, 3, 57, 60, 448])
@pytest.mark.parametrize("big_endian", [False, True])
def test_a_signal_of_64_bits_anywhere_in_an_fd_frame_is_whole(start: int, big_endian: bool) -> None:
    one = message(SignalModel("Counter", start, 64, big_endian), length=64, fd=True)
    frames = Traffic([one]).before(SECOND)
    assert [row["Counter"] for row in decoded([one], frames).rows() if row] == list(range(100))


def test_lengths_flags_and_ids_are_those_of_the_database() -> None:
    messages = [
        message(length=0, arbitration_id=1),
        message(length=5, arbitration_id=2),
        message(length=3, arbitration_id=0x18FEF1FE, is_extended=True, by_pgn=True),
        message(length=8, arbitration_id=4, fd=True),
        message(length=13, arbitration_id=5),
    ]
    frames = Traffic(messages).before(SECOND // 100)
    rows = {
        int(number): (int(flags), int(length))
        for number, flags, length in zip(frames.arbitration_id, frames.flags, frames.length, strict=True)
    }
    assert rows == {
        1: (0, 0),
        2: (0, 5),
        0x18FEF1FE: (FrameFlag.EXTENDED, 3),
        4: (FrameFlag.FD, 8),
        5: (FrameFlag.FD, 16),
    }
    # Unused bits of J1939 messages are ones.
    assert set(frames.data[frames.length == 3][:, :3].reshape(-1).tolist()) == {0xFF}
    assert not frames.data[frames.length != 3].any()


def test_what_no_frame_can_hold_is_told() -> None:
    assert not message(length=65).fits_a_frame
    assert not message(length=9, arbitration_id=0x18FEF1FE, is_extended=True, by_pgn=True).fits_a_frame
    assert message(length=64).fits_a_frame
    assert message(length=9).needs_fd
    assert message(length=8, fd=True).needs_fd
    assert not message(length=8).needs_fd


def test_limits_that_no_value_meets_do_not_count() -> None:
    signal = SignalModel("S", 0, 10, scale=0.02, offset=-512)
    assert raw_range(signal, -20, 20) == (0, 1023)
    assert raw_range(signal, -500, -499.99) == (600, 600)
    assert raw_range(SignalModel("S", 0, 1, offset=2), 0, 1) == (0, 1)


def test_a_message_a_thousand_times_slower_than_another_is_neither_early_nor_late() -> None:
    fast = message(cycle_seconds=0.01)
    slow = replace(message(arbitration_id=7), cycle_seconds=10.0)
    traffic = Traffic([fast, slow])
    counts = [int((traffic.before(end * SECOND).arbitration_id == 7).sum()) for end in range(1, 41)]
    assert sum(counts) == 4
    assert [sum(counts[at : at + 10]) for at in range(0, 40, 10)] == [1, 1, 1, 1]


def test_frames_are_due_on_the_clock_and_a_little_delay_is_made_up_for() -> None:
    timetable = Timetable(100.0)
    assert timetable.wait_seconds(2 * SECOND, 101.5) == pytest.approx(0.5)
    assert timetable.wait_seconds(2 * SECOND, 101.9999) == 0
    assert timetable.wait_seconds(3 * SECOND, 103.9) == 0
    assert timetable.wait_seconds(4 * SECOND, 103.9) == pytest.approx(0.1)
    assert timetable.late_seconds == 0


def test_a_long_delay_makes_all_later_frames_later() -> None:
    timetable = Timetable(0.0)
    assert timetable.wait_seconds(SECOND, 1.0 + 3 * MAX_LATE_SECONDS) == 0
    assert timetable.late_seconds == pytest.approx(3 * MAX_LATE_SECONDS)
    assert timetable.wait_seconds(2 * SECOND, 1.0 + 3 * MAX_LATE_SECONDS) == pytest.approx(1.0)
    assert timetable.wait_seconds(4 * SECOND, 4.0 + 5 * MAX_LATE_SECONDS) == 0
    assert timetable.late_seconds == pytest.approx(5 * MAX_LATE_SECONDS)
