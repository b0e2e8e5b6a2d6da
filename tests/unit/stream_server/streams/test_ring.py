"""The ring with its limits."""

from __future__ import annotations

import weakref

import pytest

from stream_server.streams.ring import Ring, RingLimits, SharedText


def filled(count: int, limits: RingLimits) -> Ring:
    ring = Ring(100, limits)
    for number in range(count):
        ring.append(101 + number, b"<%d>" % number, float(number))
    return ring


def test_a_new_ring_is_resumable_only_at_its_start() -> None:
    ring = Ring(100, RingLimits())
    assert [ring.why_not_resumable(one) for one in (99, 100, 101)] == ["too_old", None, "unknown"]


def test_reading_on_from_a_position_gives_each_event_once() -> None:
    ring = filled(5, RingLimits())
    assert ring.read(100, 1 << 20) == (b"<0><1><2><3><4>", 105)
    assert ring.read(103, 1 << 20) == (b"<3><4>", 105)
    assert ring.read(105, 1 << 20) == (b"", 105)


def test_a_piece_is_bounded_but_never_empty() -> None:
    ring = filled(5, RingLimits())
    assert ring.read(100, 7) == (b"<0><1>", 102)
    assert ring.read(100, 1) == (b"<0>", 101)


@pytest.mark.parametrize("limits", [RingLimits(events=3), RingLimits(size_bytes=9)])
def test_the_oldest_events_leave_a_full_ring(limits: RingLimits) -> None:
    ring = filled(5, limits)
    assert (len(ring), ring.evicted, ring.oldest, ring.last) == (3, 102, 103, 105)
    assert ring.read(102, 1 << 20) == (b"<2><3><4>", 105)


def test_one_event_above_the_byte_limit_is_kept() -> None:
    ring = Ring(0, RingLimits(size_bytes=4))
    ring.append(1, b"too long", 0.0)
    assert ring.read(0, 1) == (b"too long", 1)


def test_old_events_leave_with_time_and_the_empty_ring_is_resumable_at_its_last_id() -> None:
    ring = filled(3, RingLimits(seconds=10))
    ring.expire(11.5)
    assert (len(ring), ring.evicted) == (1, 102)
    ring.expire(100.0)
    assert (len(ring), ring.evicted, ring.oldest) == (0, 103, 103)
    assert [ring.why_not_resumable(one) for one in (102, 103, 104)] == ["too_old", None, "unknown"]


def test_a_position_some_seconds_ago() -> None:
    ring = filled(5, RingLimits())
    assert ring.position_at(2.0, 4.0) == 102
    assert ring.position_at(60.0, 4.0) == 100
    assert ring.position_at(1.0, 99.0) == 105


def test_a_ring_that_turned_over_many_times_holds_the_newest() -> None:
    ring = filled(50_000, RingLimits(events=1_000))
    data, position = ring.read(ring.evicted, 1 << 30)
    assert position == ring.last == 50_100
    assert data == b"".join(b"<%d>" % number for number in range(49_000, 50_000))
    assert ring.read(50_099, 1 << 20)[0] == b"<49999>"


def test_a_shared_rest_is_read_where_it_is_and_kept_once_as_long_as_any_ring_holds_it() -> None:
    rest = SharedText(b"x" * 1000)
    kept = weakref.ref(rest)
    rings = [Ring(0, RingLimits(events=2)) for _ in range(3)]
    for ring in rings:
        ring.append(1, b"<1", 0.0, rest)
        ring.append(2, b"<2>", 0.0)
        assert ring.read(0, 1 << 20) == (b"<1" + b"x" * 1000 + b"<2>", 2)
        assert ring.read(0, 1) == (b"<1" + b"x" * 1000, 1)
        assert (ring.size_bytes, ring.own_bytes < 1000) == (1005, True)
    del rest
    for ring in rings:
        assert kept() is not None
        ring.append(3, b"<3>", 0.0)
        assert ring.read(1, 1 << 20) == (b"<2><3>", 3)
    assert kept() is None


def test_a_ring_that_shrinks_forgets_the_oldest_and_never_the_newest() -> None:
    ring = filled(5, RingLimits())
    ring.shrink(15)
    assert (len(ring), ring.evicted) == (5, 100)
    ring.shrink(7)
    assert (len(ring), ring.evicted, ring.read(103, 99)) == (2, 103, (b"<3><4>", 105))
    ring.shrink(0)
    assert (len(ring), ring.evicted, ring.read(104, 99)) == (1, 104, (b"<4>", 105))
