"""A wall clock that is set: what it stamped before and after is told apart, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.protocol.clock_record import ClockRecord
from edge_agent.lanes.clock_watch import LOOK_SECONDS, ClockWatch

MS = 1_000_000
SECOND = 1000 * MS
YEARS = 55 * 365 * 86_400 * SECOND


def watch(offset_ns: int = 0, *, synchronised: bool = False) -> ClockWatch:
    return ClockWatch("boot", 0, offset_ns, synchronised=synchronised)


def never() -> bool:
    return False


def test_a_clock_that_nobody_sets_is_told_once_only() -> None:
    one = watch(7)
    for second in range(10):
        one.look(second * SECOND, 7 + second * MS, never)
        assert not one.changes
    assert one.record == ClockRecord("boot", 7, synchronised=False)


def test_whether_it_is_synchronised_is_asked_each_second() -> None:
    one, asked = watch(), []

    def ask() -> bool:
        asked.append(1)
        return True

    for step in range(9):
        one.look(step * SECOND // 4, 0, ask)
    assert len(asked) == 2
    assert one.is_due
    assert one.split(np.array([1, 2])) == 2, "nothing tells these apart"
    assert (one.tell(), one.changes) == (ClockRecord("boot", 0, synchronised=True), False)


def test_what_an_unknown_boot_says_is_for_its_start_alone() -> None:
    assert ClockWatch("unknown", 0, 0, synchronised=False).record.boot_id == ""


def test_a_silent_bus_learns_of_its_clock_a_second_later() -> None:
    one, due = watch(), []
    for looked_ns in (SECOND, 2 * SECOND):
        one.look(looked_ns, YEARS, never)
        due.append((one.changes, one.is_due))
    assert due == [(True, False), (True, True)], "frames of the old clock may be on their way at first"
    assert one.tell().offset_ns == YEARS


def test_a_clock_that_is_set_twice_in_a_row() -> None:
    one = watch()
    one.look(1 * SECOND, 60 * SECOND, never)
    one.look(1 * SECOND + 20 * MS, YEARS, never)
    rows = np.array([SECOND + 10 * MS, YEARS + SECOND + 15 * MS])
    assert one.split(rows) == 1
    assert one.tell().offset_ns == YEARS


def test_the_offset_is_that_of_the_moment_when_the_clock_became_right() -> None:
    one = watch()
    one.look(2 * SECOND, 400 * MS, lambda: True)
    assert one.tell() == ClockRecord("boot", 400 * MS, synchronised=True)


steps = st.integers(500 * MS, 3 * SECOND) | st.integers(SECOND, YEARS)


@given(
    st.lists(st.integers(0, 200 * MS), min_size=1, max_size=60),
    st.floats(0, 1),
    steps,
    st.booleans(),
    st.integers(0, 20 * MS),
    st.integers(1 * MS, 60 * MS),
)
def test_rows_before_and_after_the_step_are_on_their_sides(
    pauses: list[int], when: float, step_ns: int, back: bool, latency_ns: int, beat_ns: int
) -> None:
    """A bus is read in beats, after silence at once; its frames are stamped as they come."""
    arrivals = np.cumsum(pauses) + SECOND
    set_ns = int(arrivals[0] + when * (arrivals[-1] - arrivals[0]))
    new_ns = -step_ns if back else step_ns
    stamps = np.where(arrivals < set_ns, arrivals, arrivals + new_ns)
    one, told_before, done, now_ns = watch(), None, 0, SECOND
    while done < len(stamps) or one.changes:
        wake_ns = arrivals[done] + latency_ns if done < len(stamps) else now_ns + SECOND
        now_ns = int(min(max(now_ns + beat_ns, wake_ns), now_ns + LOOK_SECONDS * SECOND))
        ready = int(np.searchsorted(arrivals + latency_ns, now_ns, side="right"))
        one.look(now_ns, new_ns if now_ns >= set_ns else 0, never)
        rows = stamps[done:ready]
        before = one.split(rows)
        if before < len(rows):
            assert told_before is None
            told_before = done + before
            one.tell()
        done = ready
        if one.is_due:
            one.tell()
    assert told_before in (None, int(np.count_nonzero(arrivals < set_ns)))
    if told_before is None:
        assert not (arrivals >= set_ns).any()


@pytest.mark.parametrize("stamp", [-(2**63), 2**63 - 1])
def test_nonsense_of_a_driver_is_on_one_side(stamp: int) -> None:
    one = watch()
    one.look(SECOND, YEARS, never)
    assert one.split(np.array([stamp] * 3)) in (0, 3)
