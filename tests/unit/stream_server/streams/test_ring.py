"""Ids that survive clocks and restarts, and the ring with its limits."""

from __future__ import annotations

import pytest

from stream_server.streams.ring import IdsExhaustedError, IdSource, Ring, RingLimits

NOW_US = 1_766_417_462_000_000
DAY_US = 86_400_000_000


def reserved_source(wall_us: int, stored: int = 0) -> tuple[IdSource, int]:
    ids = IdSource(wall_us, stored)
    value = ids.needs_reservation(wall_us)
    assert value is not None
    ids.reserved(value)
    return ids, value


def filled(count: int, limits: RingLimits) -> Ring:
    ring = Ring(100, limits)
    for number in range(count):
        ring.append(101 + number, b"<%d>" % number, float(number))
    return ring


def test_ids_follow_the_clock() -> None:
    ids, _ = reserved_source(NOW_US)
    assert ids.next_after(ids.start, NOW_US + 5_000) == NOW_US + 5_000


def test_ids_still_increase_when_the_clock_is_set_back_a_day() -> None:
    ids, _ = reserved_source(NOW_US)
    first = ids.next_after(ids.start, NOW_US + 5)
    assert ids.next_after(first, NOW_US - DAY_US) == first + 1


def test_a_restart_with_the_clock_set_back_a_day_starts_above_every_earlier_id() -> None:
    ids, stored = reserved_source(NOW_US)
    newest = ids.next_after(ids.start, NOW_US + 5)
    again, _ = reserved_source(NOW_US - DAY_US, stored)
    assert again.start > newest
    assert again.next_after(again.start, NOW_US - DAY_US) == again.start + 1


def test_when_the_clock_leaps_ids_go_on_below_the_reservation_until_a_new_one_is_stored() -> None:
    ids, stored = reserved_source(NOW_US)
    leapt = NOW_US + DAY_US
    first = ids.next_after(ids.start, leapt)
    second = ids.next_after(first, leapt)
    assert first < second < stored
    renewed = ids.needs_reservation(leapt)
    assert renewed is not None
    ids.reserved(renewed)
    assert ids.next_after(second, leapt) == leapt


def test_a_reservation_is_renewed_well_before_it_ends_and_not_for_every_id() -> None:
    ids, stored = reserved_source(NOW_US)
    assert ids.needs_reservation(NOW_US + 60_000_000) is None
    assert ids.needs_reservation(NOW_US + 200_000_000) is not None
    assert stored > NOW_US + 300_000_000


def test_no_id_is_issued_that_was_never_reserved() -> None:
    ids = IdSource(NOW_US)
    with pytest.raises(IdsExhaustedError):
        ids.next_after(ids.start, NOW_US)


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
