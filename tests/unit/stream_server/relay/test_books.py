"""What a direction says of itself: every frame in exactly one place, and how much memory it takes."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.relay_control import Cursor, Totals
from stream_server.groups.group_state import DirectionBooks
from stream_server.relay.link import Link
from stream_server.relay.relay_store import Way
from stream_server.relay.values import NS, Bounds
from tests.unit.stream_server.relay.test_direction import START, Bench


def books_of(bench: Bench) -> DirectionBooks:
    """As `group_state` says them."""
    return Link(Way("source", "sink"), "bridge", bench.direction).books(bench.now_ns)


def test_what_is_missing_here_counted_and_settled_is_all_that_was_made() -> None:
    bench = Bench()
    bench.mark()
    bench.frames(2, 0, 5, own=(1, 3))
    bench.frames(4, 8, 2)
    books = books_of(bench)
    assert (books.buffered_frames, books.missing_frames, books.made_frames) == (5, 3, 8)
    bench.now_ns += 11 * NS
    bench.direction.aged(bench.now_ns)
    bench.frames(5, 10, 4)
    books = books_of(bench)
    assert (books.buffered_frames, books.missing_frames) == (4, 0)
    assert (dict(books.counted), books.made_frames) == ({"too_old": 8}, 12)
    assert not books.not_sent, "only the sink settles"
    bench.greet()
    bench.direction.settled(Cursor("source", START, 10, Totals(not_sent={"too_old": 8})))
    books = books_of(bench)
    assert (dict(books.counted), books.not_sent, books.made_frames) == ({}, {"too_old": 8}, 12)


@given(
    packets=st.lists(st.tuples(st.integers(1, 5), st.sets(st.integers(0, 4))), min_size=1, max_size=8),
    data=st.data(),
)
def test_each_frame_of_others_is_in_one_place_whatever_its_sink_settles(
    packets: list[tuple[int, set[int]]], data: st.DataObject
) -> None:
    bench = Bench()
    bench.mark()
    counts: list[int] = []
    for seq, (frames, own) in enumerate(packets, 2):
        bench.frames(seq, len(counts), frames, own=tuple(one for one in own if one < frames))
        counts += [0 if one in own else 1 for one in range(frames)]
    bench.greet()
    at = 0
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(at, len(counts)))
        bench.settle(at, sent=sum(counts[:at]))
        if data.draw(st.booleans()):
            bench.handed()
        assert books_of(bench).made_frames == sum(counts)
    bench.direction.deactivate()
    books = books_of(bench)
    assert books.buffered_frames == 0
    assert books.counted.get("deactivated", 0) == sum(counts[at:])
    assert books.made_frames == sum(counts)


def test_the_ledger_is_about_what_a_direction_takes() -> None:
    bench = Bench(Bounds(body_bytes=50_000))
    bench.mark()
    gc.collect()
    tracemalloc.start()
    try:
        for first in range(0, 1_500, 100):
            for number in range(first, first + 100):
                bench.now_ns += 1
                bench.frames(2 + number, number)
            bench.commit(*range(2 + first, 102 + first))
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.7 * taken < bench.direction.held.bytes < 1.5 * taken


@pytest.mark.parametrize("starts", [1, 3])
def test_bodies_are_a_cache_that_is_bounded_for_the_whole_direction(starts: int) -> None:
    most = 1_000
    bench = Bench(Bounds(body_bytes=most))
    for number in range(starts):
        start = f"{number + 1:016x}"
        bench.mark(start=start)
        for seq in range(2, 52):
            bench.frames(seq, seq - 2, start=start)
        numbers = [PacketNumber(start, seq) for seq in range(2, 52)]
        bench.direction.stored(bench.direction.to_store(numbers))
    kept = bench.direction._lines.kept_bytes
    assert most / 2 < kept <= most
    assert len(bench.direction._lines) == starts


def test_what_is_too_much_is_counted_and_takes_no_memory() -> None:
    bench = Bench(Bounds(frames=100))
    bench.mark()
    for number in range(1_000):
        bench.frames(2 + number, number)
        bench.direction.aged(bench.now_ns)
    held = bench.direction.held.bytes
    books = books_of(bench)
    assert (books.buffered_frames, dict(books.counted), books.pressure) == (100, {"trimmed": 900}, True)
    for number in range(1_000, 5_000):
        bench.frames(2 + number, number)
        bench.direction.aged(bench.now_ns)
    assert bench.direction.held.bytes == held
