"""What earlier processes and openings have left in a driver is told from others' frames by what it is."""

from __future__ import annotations

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of, concatenate
from edge_agent.relay.burst import frame_keys
from edge_agent.relay.leftover.late import MOST_LEFT, READ_NS, LateFrames

TX = int(FrameFlag.TX)


def frames(*ids: int, flags: int = 0) -> FrameBatch:
    return batch_of([(7, one, flags, 1, b"\1") for one in ids])


def keys(*ids: int) -> list[bytes]:
    return frame_keys(frames(*ids))


def own(late: LateFrames, *ids: int, now_ns: int = 0) -> list[bool]:
    return [bool(flags & TX) for flags in late.marked(frames(*ids), now_ns).flags.tolist()]


def test_each_is_an_own_frame_once_and_all_else_is_what_it_was() -> None:
    late = LateFrames(keys(1, 2, 1))
    marked = late.marked(frames(1, 3, 1, 1), 0)
    assert marked.flags.tolist() == [TX, 0, TX, 0]
    assert frame_keys(marked) == keys(1, 3, 1, 1)
    assert marked.timestamp_ns.tolist() == [7] * 4
    assert own(late, 2, 2) == [True, False]
    assert not late


def test_what_is_marked_already_and_error_frames_are_none_of_them() -> None:
    late = LateFrames(keys(1))
    told = concatenate([frames(1, flags=TX), frames(1, flags=int(FrameFlag.ERROR))])
    assert late.marked(told, 0) is told
    assert own(late, 1) == [True]


def test_a_driver_that_is_empty_has_none_and_what_came_out_before_is_read_soon() -> None:
    kept: list[list[bytes]] = []
    late = LateFrames(keys(1, 2, 3), kept.append)
    late.gone()
    assert (kept, bool(late)) == ([[]], False)
    assert own(late, 1, now_ns=5) == [True]
    assert own(late, 2, now_ns=5 + READ_NS) == [True]
    assert own(late, 3, now_ns=6 + READ_NS) == [False]


def test_what_this_process_gives_up_is_for_the_next_one_or_the_next_opening() -> None:
    kept: list[list[bytes]] = []
    late = LateFrames(keys(1), kept.append)
    late.given_up(keys(2, 3))
    assert kept[-1] == keys(1, 2, 3)
    assert own(late, 2, 1) == [False, True]  # its own are marked by the kernel
    assert kept[-1] == keys(2, 3)
    late.leave(keys(2, 3))
    assert kept[-1] == keys(2, 3)
    assert own(late, 2) == [True]
    assert own(LateFrames(kept[-1]), 3) == [True]


def test_the_newest_are_kept_of_what_is_more_than_any_driver_holds() -> None:
    late = LateFrames(keys(*range(MOST_LEFT)))
    late.leave(keys(1_000))
    assert own(late, 0, 1, 1_000) == [False, True, True]
