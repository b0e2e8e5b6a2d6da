"""Of frames that come back unmarked as many are own ones as were written, and no others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of
from edge_agent.transmit.own_frames import OwnFrames


def frames_of(numbers: list[int]) -> FrameBatch:
    return batch_of([(0, number, 0, 1, bytes([number])) for number in numbers])


def is_own(frames: FrameBatch) -> list[bool]:
    return [bool(flag & FrameFlag.TX) for flag in frames.flags.tolist()]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40), st.data())
def test_own_frames_among_others_are_as_many_as_were_written(
    bus: list[tuple[int, bool]], data: st.DataObject
) -> None:
    own = OwnFrames("unmarked")
    written = [number for number, is_ours in bus if is_ours]
    for number in written:
        own.written(frames_of([number]))
    found: list[bool] = []
    numbers = [number for number, _ in bus]
    while len(found) < len(bus):
        count = data.draw(st.integers(1, 5))
        found += is_own(own.marked(frames_of(numbers[len(found) : len(found) + count]), 0))
    # An equal frame of another may stand for ours, and ours for its: nobody can tell, nor need to.
    assert sum(found) <= len(written)
    others_alike = any(number in written for number, is_ours in bus if not is_ours)
    if not others_alike:
        assert found == [is_ours for _, is_ours in bus]


def test_a_lost_frame_takes_none_of_others_with_it() -> None:
    own = OwnFrames("unmarked")
    for number in (1, 2, 3):
        own.written(frames_of([number]))
    assert is_own(own.marked(frames_of([2, 1, 3, 3]), 0)) == [True, False, True, False]


def test_a_frame_that_was_refused_is_not_waited_for() -> None:
    own = OwnFrames("unmarked")
    own.written(frames_of([1]))
    own.written(frames_of([2]))
    own.refused(frames_of([2]))
    assert is_own(own.marked(frames_of([2, 1]), 0)) == [False, True]


def test_what_a_driver_marks_itself_is_left_as_it_is() -> None:
    own = OwnFrames("marked")
    own.written(frames_of([1]))
    own.taken(frames_of([1]))
    given_back = batch_of([(0, 1, FrameFlag.TX, 1, b"\x01"), (0, 1, 0, 1, b"\x01")])
    assert own.marked(given_back, 0).equals(given_back)
