"""When a live bus's frames become packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of, empty_batch
from can_stream.protocol.packet_head import MAX_ROWS
from edge_agent.lanes.batching import LiveBatcher

FLUSH_SECONDS = 0.05


def frames(count: int, first: int = 0) -> FrameBatch:
    return batch_of((stamp, 1, 0, 0, b"") for stamp in range(first, first + count))


def test_nothing_is_due_while_nothing_waits() -> None:
    batcher = LiveBatcher(FLUSH_SECONDS)
    batcher.add_frames(empty_batch())
    assert batcher.due_in(0.0) is None
    assert batcher.take_batches(0.0) == []


def test_the_first_after_silence_is_due_at_once_and_the_next_where_an_interval_ends() -> None:
    batcher = LiveBatcher(FLUSH_SECONDS)
    batcher.add_frames(frames(1))
    assert batcher.due_in(100.01) == 0
    batcher.take_batches(100.01)
    batcher.add_frames(frames(1))
    assert batcher.due_in(100.02) == pytest.approx(0.03)
    assert batcher.due_in(100.05) == 0


def test_where_it_is_prompt_own_echoes_wait_and_the_first_frame_of_others_takes_them_along() -> None:
    batcher = LiveBatcher(FLUSH_SECONDS)
    batcher.is_prompt = True
    batcher.add_frames(frames(1))
    batcher.take_batches(100.01)
    batcher.add_frames(batch_of([(0, 1, int(FrameFlag.TX), 0, b"")]))
    assert batcher.due_in(100.02) == pytest.approx(0.03)
    batcher.add_frames(frames(1))
    assert batcher.due_in(100.02) == 0
    assert [len(batch) for batch in batcher.take_batches(100.02)] == [2]
    batcher.add_frames(batch_of([(0, 1, int(FrameFlag.TX), 0, b"")]))
    assert batcher.due_in(100.03) == pytest.approx(0.02)


@given(st.floats(0, 1e9), st.floats(0.005, 10))
def test_no_batch_is_longer_than_the_interval(now_seconds: float, flush_seconds: float) -> None:
    batcher = LiveBatcher(flush_seconds)
    batcher.add_frames(frames(1))
    batcher.take_batches(now_seconds)
    batcher.add_frames(frames(1))
    due_seconds = batcher.due_in(now_seconds)
    assert due_seconds is not None
    assert due_seconds <= flush_seconds + 1e-6


def test_the_batches_of_all_buses_end_together() -> None:
    batchers = [LiveBatcher(FLUSH_SECONDS) for _ in range(3)]
    for batcher, began_seconds in zip(batchers, (100.01, 100.02, 100.04), strict=True):
        batcher.add_frames(frames(1))
        batcher.take_batches(began_seconds)
        batcher.add_frames(frames(1))
    assert {round(batcher.due_in(100.04) or 0, 6) for batcher in batchers} == {0.01}


def test_what_is_nearly_due_does_not_wait_for_a_wake_up_of_its_own() -> None:
    batcher = LiveBatcher(FLUSH_SECONDS)
    batcher.add_frames(frames(1))
    batcher.take_batches(100.01)
    batcher.add_frames(frames(1))
    assert batcher.due_in(100.0495) == 0


def test_as_much_as_a_packet_holds_is_due_at_once() -> None:
    batcher = LiveBatcher(FLUSH_SECONDS)
    batcher.add_frames(frames(1))
    batcher.take_batches(100.01)
    batcher.add_frames(frames(MAX_ROWS - 1))
    assert batcher.due_in(100.01) != 0
    batcher.add_frames(frames(2, MAX_ROWS - 1))
    assert batcher.due_in(100.01) == 0
    taken = batcher.take_batches(100.01)
    assert [len(batch) for batch in taken] == [MAX_ROWS, 1]
    assert [int(batch.timestamp_ns[0]) for batch in taken] == [0, MAX_ROWS]
    batcher.add_frames(frames(1))
    assert batcher.due_in(100.01) != 0
