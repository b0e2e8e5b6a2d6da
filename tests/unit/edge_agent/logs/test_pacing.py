"""When the frames of a log are due."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch, batch_of
from edge_agent.logs.pacing import Pacer

SECOND = 10**9


def at(*seconds: float) -> NDArray[np.int64]:
    return np.array([round(second * SECOND) for second in seconds], np.int64)


def due_seconds(pacer: Pacer, timestamps: NDArray[np.int64], block: int = 1000) -> list[float]:
    """When each row comes, as a patient caller sees it, who waits exactly as long as it is told."""
    now, came = 100.0, []
    for start in range(0, len(timestamps), block):
        rest = timestamps[start : start + block]
        while len(rest):
            rows, wait_seconds, _ = pacer.due_rows(rest, now)
            came += [round(now - 100.0, 6)] * rows
            rest = rest[rows:]
            assert (wait_seconds == 0) == (not len(rest))
            now += wait_seconds + (1e-7 if len(rest) else 0)
    return came


def test_rows_come_at_their_own_spacing_from_the_first_call_on() -> None:
    assert due_seconds(Pacer(), at(50, 50.5, 52)) == pytest.approx([0, 0.5, 2], abs=1e-5)


@pytest.mark.parametrize(("speed", "expected"), [(2, [0, 0.25, 1]), (0.5, [0, 1, 4])])
def test_speed_divides_the_spacing(speed: float, expected: list[float]) -> None:
    assert due_seconds(Pacer(speed), at(50, 50.5, 52)) == pytest.approx(expected, abs=1e-5)


def test_without_a_speed_everything_is_due_at_once() -> None:
    assert due_seconds(Pacer(None), at(0, 1000, 3)) == [0, 0, 0]


def test_a_batch_is_cut_where_the_next_frame_is_not_due_yet() -> None:
    pacer = Pacer()
    batch = batch_of((int(stamp), 1, 0, 0, b"") for stamp in at(5, 5.25, 6))
    part, wait_seconds = pacer.due(batch, 10.0)
    assert (len(part), wait_seconds) == (1, 0.25)
    part, wait_seconds = pacer.due(batch[1:], 10.5)
    assert (len(part), wait_seconds) == (1, 0.5)
    part, wait_seconds = pacer.due(batch[2:], 11.0)
    assert (len(part), wait_seconds) == (1, 0.0)


def test_who_comes_late_gets_all_that_is_due_and_no_delay_adds_up() -> None:
    pacer = Pacer()
    stamps = np.arange(1000, dtype=np.int64) * (SECOND // 100)
    pacer.due_rows(stamps, 0.0)
    rows, wait_seconds, due_ns = pacer.due_rows(stamps[1:], 5.004)
    assert rows == 500
    assert wait_seconds == pytest.approx(0.006)
    assert due_ns[-1] == 5 * SECOND


def test_a_frame_older_than_its_predecessor_is_due_with_it() -> None:
    assert due_seconds(Pacer(), at(10, 10.2, 10.1, 10.3)) == pytest.approx([0, 0.2, 0.2, 0.3], abs=1e-5)


def test_small_steps_back_do_not_stretch_the_log() -> None:
    pairs = np.arange(0, 60 * SECOND, 10_000_000, dtype=np.int64)
    swapped = np.stack((pairs + 1_000_000, pairs), axis=1).ravel()
    assert due_seconds(Pacer(), swapped)[-1] == pytest.approx(60, abs=0.02)


def test_time_that_starts_again_follows_without_a_pause_or_a_burst() -> None:
    stamps = at(1000, 1001, 5, 6, 7)
    assert due_seconds(Pacer(), stamps, block=2) == pytest.approx([0, 1, 1, 2, 3], abs=1e-5)


def test_a_night_between_two_runs_is_a_second() -> None:
    assert due_seconds(Pacer(), at(0, 1, 1 + 3601, 3603)) == pytest.approx([0, 1, 2, 3], abs=1e-5)
    assert due_seconds(Pacer(), at(0, 3600))[-1] == pytest.approx(3600, abs=1e-5)


def test_laps_follow_after_their_pause() -> None:
    pacer = Pacer(2)
    first = due_seconds(pacer, at(10, 11))
    pacer.next_lap(0.5)
    rows, wait_seconds, _ = pacer.due_rows(at(10, 11), 100.0 + first[-1])
    assert rows == 0
    assert wait_seconds == pytest.approx(0.25, abs=1e-5)
    assert pacer.position_seconds == pytest.approx(1.5)


def test_an_empty_batch_is_nothing_to_wait_for() -> None:
    empty = batch_of([])
    assert isinstance(Pacer().due(empty, 1.0)[0], FrameBatch)
    assert Pacer().due(empty, 1.0)[1] == 0


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_a_speed_must_be_above_zero(speed: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Pacer(speed)


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 10**12), min_size=1, max_size=40),
    st.integers(1, 10),
    st.none() | st.floats(0.01, 1000),
)
def test_any_timestamps_come_all_in_order_at_times_that_never_go_back(
    stamps: list[int], block: int, speed: float | None
) -> None:
    pacer = Pacer(speed)
    timestamps = np.array(stamps, np.int64)
    last, now, emitted = 0, 0.0, 0
    for start in range(0, len(timestamps), block):
        rest = timestamps[start : start + block]
        while len(rest):
            rows, wait_seconds, due_ns = pacer.due_rows(rest, now)
            assert wait_seconds >= 0
            assert not rows or (due_ns[0] >= last and (np.diff(due_ns) >= 0).all())
            last = int(due_ns[-1]) if rows else last
            emitted += rows
            rest = rest[rows:]
            now += wait_seconds * 1.001 + 1e-6
    assert emitted == len(stamps)


@pytest.mark.parametrize("speed", [1.0, 10.0])
def test_what_is_skipped_takes_no_time_and_what_follows_is_due_from_then(speed: float) -> None:
    pacer = Pacer(speed)
    pacer.skip(np.array([0, 50, 40], np.int64) * 10**9, 7.0)
    pacer.skip(np.array([60, 100], np.int64) * 10**9, 8.0)
    rows, wait_seconds, _ = pacer.due_rows(np.array([100, 105], np.int64) * 10**9, 9.0)
    assert rows == (1 if speed == 1 else 2)
    assert wait_seconds == pytest.approx(4.0 if speed == 1 else 0.0)


def test_all_at_once_has_nothing_to_skip() -> None:
    pacer = Pacer(None)
    pacer.skip(np.array([5], np.int64), 1.0)
    pacer.skip(np.array([], np.int64), 1.0)
    assert pacer.due_rows(np.array([6, 7], np.int64), 2.0)[0] == 2
