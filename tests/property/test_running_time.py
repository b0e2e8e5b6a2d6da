"""How long a server has run never goes back, and counts no moment at which it was down."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_server.recording.running_time import RunningTime

seconds = st.floats(0, 1e6)
runs = st.lists(st.tuples(seconds, st.lists(seconds, max_size=4)), min_size=1, max_size=6)


@given(runs, st.booleans())
def test_it_counts_what_it_ran(started: list[tuple[float, list[float]]], loses: bool) -> None:
    """Each start: the moment of its boot, and how long after it somebody asks; the last answer is kept."""
    kept, ran = 0.0, 0.0
    for moment, asked in started:
        running = RunningTime(kept, moment)
        for later in sorted(asked):
            told = running.at(moment + later)
            assert told >= kept
            ran_now = ran + later
            assert told <= ran_now + 1e-3
            if not loses:
                assert told >= ran_now - 1e-3
        assert running.at(moment - 5) == kept, "a clock that is not monotonic takes nothing back"
        if asked:
            ran += max(asked)
            kept = running.at(moment + (0 if loses else max(asked)))
