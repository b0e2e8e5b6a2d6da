"""What is said of a log in one line."""

from __future__ import annotations

from pathlib import PurePath

from msgspec.structs import replace

from can_stream.logs.books import FIRST_DATED_NS, LogBooks

DRIVE = LogBooks(
    PurePath("drive.blf"), "blf", 1050, 1043, {"bus statistics": 3, "comments": 3}, 1, FIRST_DATED_NS
)


def test_all_that_a_log_holds_is_said_in_one_line() -> None:
    assert str(DRIVE) == (
        "drive.blf: 1,050 objects: 1,043 frames, 6 others (bus statistics: 3, comments: 3), 1 unreadable"
    )
    assert str(LogBooks(PurePath("x"), "candump", 1, 1, {}, 0)) == "x: 1 line: 1 frame"
    assert str(replace(DRIVE, others={}, is_cut=True)).endswith("1 unreadable; the log is not whole")
    open_end = replace(DRIVE, others={}, has_open_end=True)
    assert str(open_end).endswith("1 unreadable; its last line has no end, and may be cut")
    assert open_end.as_json()["has_open_end"] is True


def test_many_kinds_are_not_all_named() -> None:
    many = replace(DRIVE, others={f"objects of type {number}": 1 for number in range(50)})
    assert str(many).count("objects of type") == 8
    assert ", and 42 kinds more" in str(many)


def test_times_before_the_first_tool_have_no_date() -> None:
    assert DRIVE.has_date
    assert not replace(DRIVE, first_ns=FIRST_DATED_NS - 1).has_date
    assert not replace(DRIVE, first_ns=-1_800_000_000 * 10**9).has_date
    assert replace(DRIVE, first_ns=None).has_date
