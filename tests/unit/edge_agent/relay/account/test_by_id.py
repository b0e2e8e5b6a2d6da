"""What has become of frames, by id."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameFlag, batch_of
from edge_agent.relay.account.by_id import CountsById, id_keys
from edge_agent.relay.account.counted import IdCounts

EXTENDED = int(FrameFlag.EXTENDED)


def test_ids_of_11_bits_and_of_29_are_told_apart_and_written_as_everywhere() -> None:
    counts = CountsById()
    keys = id_keys(batch_of([(0, 0x123, 0, 0, b""), (0, 0x123, EXTENDED, 0, b"")]))
    counts.add([(keys[0], "sent"), (keys[1], "not_allowed"), (keys[0], "sent"), (keys[0], "too_old")])
    assert counts.rows() == [
        IdCounts("0x123", {"sent": 2, "too_old": 1}),
        IdCounts("0x00000123", {"not_allowed": 1}),
    ]


@given(
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["sent", "too_old", "in_doubt"]))),
    st.integers(1, 12),
    st.integers(1, 12),
)
def test_however_many_ids_come_rows_are_bounded_and_no_frame_is_left_out(
    told: list[tuple[int, str]], most_ids: int, most_rows: int
) -> None:
    counts = CountsById(most_ids)
    counts.add(told)
    rows = counts.rows(most_rows)
    assert sum((Counter(row.frames) for row in rows), Counter()) == Counter(fate for _, fate in told)
    assert len([row for row in rows if row.id is not None]) <= min(most_ids, most_rows)
    assert [row.id for row in rows if row.id] == sorted(row.id for row in rows if row.id)
    assert all(row.id is not None for row in rows[:-1])


def test_the_rows_are_those_of_the_most_frames() -> None:
    counts = CountsById()
    counts.add([(1, "sent"), (2, "sent"), (2, "sent"), (3, "sent"), (3, "too_old"), (3, "sent")])
    assert counts.rows(2) == [
        IdCounts("0x002", {"sent": 2}),
        IdCounts("0x003", {"sent": 2, "too_old": 1}),
        IdCounts(None, {"sent": 1}),
    ]
