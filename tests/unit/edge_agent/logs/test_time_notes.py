"""What is said of the times of logs."""

from __future__ import annotations

import time
from pathlib import PurePath

import pytest
from msgspec.structs import replace

from can_stream.logs.books import LogBooks
from edge_agent.logs.time_notes import time_notes

DATED = LogBooks(PurePath("a.log"), "candump", 1, 1, {}, 0, 1_766_417_462 * 10**9)
COUNTING = replace(DATED, path=PurePath("b.asc"), first_ns=100_000_000)


def test_a_log_without_a_date_is_never_1970_without_a_word() -> None:
    (note,) = time_notes([DATED, COUNTING], None)
    assert note.startswith("b.asc: its times have no date, they count from 1970 (the first is 1970-01-01T")
    assert "--start-time" in note
    (note,) = time_notes([replace(COUNTING, first_ns=-1_800_000_000 * 10**9)], None)
    assert "1912-12-1" in note
    assert list(time_notes([DATED, COUNTING], 5)) == []


def test_a_log_without_times_is_named() -> None:
    untimed = replace(COUNTING, first_ns=0, has_timestamps=False)
    (note,) = time_notes([untimed], None)
    assert note == "b.asc holds no times: its frames are played at once, and dated 1970: see --start-time"
    (note,) = time_notes([untimed], 5)
    assert note.endswith("dated as --start-time says")


def test_a_start_time_that_is_not_used_is_said() -> None:
    (note,) = time_notes([DATED], 5)
    assert note.startswith("--start-time is not used")
    assert list(time_notes([replace(DATED, frames=0, first_ns=None)], 5)) == []


def test_local_time_is_said_with_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        context.setenv("TZ", "Europe/Berlin")
        time.tzset()
        (note,) = time_notes([replace(DATED, is_local=True)], None)
    time.tzset()
    assert (
        "a.log: its dates name no zone and are taken as local time of this computer (CET, UTC+0100)" in note
    )
    assert "TZ=" in note


def test_of_many_logs_a_few_are_named() -> None:
    many = [replace(COUNTING, path=PurePath(f"{number}.asc")) for number in range(9)]
    (note,) = time_notes(many, None)
    assert note.startswith("0.asc, 1.asc, 2.asc and 6 more: ")
