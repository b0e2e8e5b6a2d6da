"""Which frames pass `frame_filters`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of
from edge_agent.config.frame_filters import FrameFilter, keep_matching

EXT, ERR = int(FrameFlag.EXTENDED), int(FrameFlag.ERROR)


def batch(*frames: tuple[int, int]) -> FrameBatch:
    return batch_of(
        (row, arbitration_id, flags, 0, b"") for row, (arbitration_id, flags) in enumerate(frames)
    )


def kept(filters: list[FrameFilter], *frames: tuple[int, int]) -> list[int]:
    return [int(row) for row in keep_matching(batch(*frames), filters).timestamp_ns]


def test_without_filters_everything_passes() -> None:
    assert kept([], (1, 0), (2, EXT)) == [0, 1]


@pytest.mark.parametrize("written", ["0x7E8", "0X7e8", 0x7E8])
def test_an_id_passes_exactly_its_frames(written: int | str) -> None:
    assert kept([FrameFilter(written)], (0x7E8, 0), (0x7E9, 0), (0x7E8, EXT)) == [0]


def test_a_mask_says_which_bits_count_and_one_match_is_enough() -> None:
    filters = [FrameFilter("0x7E8", "0x7F8"), FrameFilter("0x100")]
    assert kept(filters, (0x7E8, 0), (0x7EF, 0), (0x7F0, 0), (0x100, 0)) == [0, 1, 3]


def test_extended_frames_pass_where_the_id_is_long_or_it_says_so() -> None:
    assert kept([FrameFilter("0x18DAF110")], (0x18DAF110, EXT)) == [0]
    assert kept([FrameFilter("0x10", extended=True)], (0x10, EXT), (0x10, 0)) == [0]
    assert kept([FrameFilter("0x10", "0x1FFFFF00")], (0x20, EXT), (0x20, 0)) == [0]
    assert kept([FrameFilter(0, 0)], (5, EXT), (5, 0)) == [1]


def test_error_frames_always_pass() -> None:
    assert kept([FrameFilter("0x100")], (4, ERR), (4, 0)) == [0]


@given(st.integers() | st.text(max_size=12), st.none() | st.integers() | st.text(max_size=12))
def test_any_value_is_a_number_or_a_problem(wanted: int | str, mask: int | str | None) -> None:
    one = FrameFilter(wanted, mask)
    if not list(one.problems()):
        assert all(0 <= term < 1 << 29 for term in one.terms()[:2])
        assert keep_matching(batch((1, 0)), [one]) is not None


@given(
    st.lists(
        st.tuples(st.integers(0, 0x7FF), st.just(0)) | st.tuples(st.integers(0, 2**29 - 1), st.just(EXT))
    ),
    st.lists(st.tuples(st.integers(0, 2**29 - 1), st.integers(0, 2**29 - 1), st.booleans()), max_size=4),
)
def test_the_columns_agree_with_one_frame_at_a_time(
    frames: list[tuple[int, int]], terms: list[tuple[int, int, bool]]
) -> None:
    filters = [FrameFilter(wanted, mask, extended) for wanted, mask, extended in terms]
    expected = [
        row
        for row, (arbitration_id, flags) in enumerate(frames)
        if not terms
        or any(
            arbitration_id & mask == wanted & mask and bool(flags) == extended
            for wanted, mask, extended in terms
        )
    ]
    assert kept(filters, *frames) == expected
