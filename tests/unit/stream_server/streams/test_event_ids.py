"""Ids that survive clocks and restarts."""

from __future__ import annotations

import pytest

from stream_server.streams.event_ids import IdsExhaustedError, IdSource

NOW_US = 1_766_417_462_000_000
DAY_US = 86_400_000_000


def reserved_source(wall_us: int, stored: int = 0) -> tuple[IdSource, int]:
    ids = IdSource(wall_us, stored)
    value = ids.needs_reservation(wall_us)
    assert value is not None
    ids.reserved(value)
    return ids, value


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
