"""Whatever a batch holds, its error frames are counted, and a bus's health is one of those documented."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate
from edge_agent.config.can_settings import CanSettings
from edge_agent.health.bus_errors import ErrorClass, read_errors
from edge_agent.health.bus_health import FAULTS, BusHealth
from edge_agent.host.can_link import CanLink
from edge_agent.state import State, StatusCode
from tests.helpers.can_links import STATES, controller_link, virtual_link
from tests.helpers.strategies import frame_batches

COUNTERS = ("rx_packets", "rx_over_errors", "rx_fifo_errors", "rx_missed_errors", "rx_dropped")
LINKS = st.one_of(
    st.none(),
    st.builds(
        virtual_link, st.dictionaries(st.sampled_from(COUNTERS), st.integers(0, 5)), index=st.integers(1, 2)
    ),
    st.builds(
        controller_link,
        st.dictionaries(st.sampled_from(COUNTERS), st.integers(0, 5)),
        st.tuples(*[st.integers(0, 3)] * 6),
        state=st.sampled_from(sorted(STATES)),
        modes=st.sampled_from([0, 1, 2, 0x20]),
        bitrate=st.sampled_from([0, 250_000, 500_000]),
    ),
)


@given(frame_batches())
def test_every_error_frame_is_counted_once_in_each_of_its_classes(batch: FrameBatch) -> None:
    news = read_errors(batch)
    rows = [row for row in range(len(batch)) if batch.flags[row] & FrameFlag.ERROR]
    if news is None:
        assert not rows
        return
    assert news.frames == len(rows)
    for one in set(ErrorClass) - {ErrorClass.NO_ACK}:
        count = sum(bool(batch.arbitration_id[row] & one) for row in rows)
        assert news.by_class.get(str(one.name).lower(), 0) == count
    assert 0 <= news.overflows <= news.frames
    assert news.overflow_rows[0] <= news.overflow_rows[1] < len(batch)


@given(st.lists(frame_batches(), min_size=1, max_size=4))
def test_batches_say_what_they_say_together(batches: Sequence[FrameBatch]) -> None:
    apart, together = BusHealth(CanSettings("can0")), BusHealth(CanSettings("can0"))
    for batch in batches:
        apart.take_frames(batch, 0.0)
    together.take_frames(concatenate(batches), 0.0)
    assert apart.metrics() == together.metrics()


@given(st.lists(st.one_of(frame_batches(), LINKS, st.sampled_from(StatusCode)), max_size=12), st.booleans())
def test_whatever_comes_the_health_is_one_of_those_documented(
    steps: list[FrameBatch | CanLink | StatusCode | None], listen_only: bool
) -> None:
    health = BusHealth(CanSettings("can0", listen_only, bitrate=500_000))
    health.take_source(State(StatusCode.OK, "reading can0"), 0.0)
    for now_seconds, step in enumerate(steps):
        if isinstance(step, StatusCode):
            health.take_source(
                State(step, "as the reader says", "" if step is StatusCode.OK else "down"), now_seconds
            )
        elif isinstance(step, FrameBatch):
            health.take_frames(step, now_seconds)
        else:
            overruns, _ = health.take_link(step, now_seconds, now_seconds)
            assert overruns >= 0
        state = health.state(now_seconds)
        assert state.fault in {*FAULTS, "", "down"}
        assert state.message
        assert (state.code is StatusCode.OK) <= (state.fault == "")
