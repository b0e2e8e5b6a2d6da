"""Holes behave like a table of positions: since when each is known, and when it was listed last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from can_stream.lanes.holes import Hole, difference, of_positions, relisted, without, without_all
from can_stream.lanes.intervals import IntervalSet

parts = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda r: (r[0], r[0] + r[1])), max_size=8
)
Table = dict[int, tuple[float, float]]


def table(holes: list[Hole]) -> Table:
    out: Table = {}
    for hole in holes:
        assert hole.frames == hole.last - hole.first + 1
        for x in range(hole.first, hole.last + 1):
            assert x not in out, "in two holes"
            out[x] = hole[3:]
    assert list(out) == sorted(out)
    return out


@given(st.lists(st.tuples(parts, parts, parts), max_size=6))
def test_like_a_table_of_positions(steps: list[tuple[list[tuple[int, int]], ...]]) -> None:
    holes, expected, missing = list[Hole](), Table(), IntervalSet()
    for now, (more, listed, arrived) in enumerate(steps, 1):
        for part in more:
            missing.add(*part)
        before = holes
        holes = relisted(holes, missing, IntervalSet(listed), float(now))
        for x in (x for part in missing for x in range(part[0], part[1] + 1)):
            since, last = expected.get(x, (float(now), float(now)))
            expected[x] = since, float(now) if any(a <= x <= b for a, b in listed) else last
        assert table(holes) == expected
        for part in arrived:
            missing.remove(*part)
            assert without_all(holes, IntervalSet([part])) == without(holes, *part)
            holes = without(holes, *part)
            for x in range(part[0], part[1] + 1):
                expected.pop(x, None)
        assert table(holes) == expected
        gone, runs, new = difference(before, holes)
        stored = {hole.first: hole for hole in before}
        for first in gone:
            del stored[first]
        for run in runs:
            for hole in stored.values():
                if run.first <= hole.first <= run.last:
                    stored[hole.first] = hole._replace(last_listed_seconds=run.last_listed_seconds)
        assert not any(hole.first in stored for hole in new)
        assert sorted([*stored.values(), *new]) == holes


def test_nothing_is_written_where_nothing_has_changed() -> None:
    holes = [of_positions(1, 5, 0.0, 0.0)]
    assert without(holes, 6, 9) is holes
    assert difference(holes, holes) == ([], [], [])
