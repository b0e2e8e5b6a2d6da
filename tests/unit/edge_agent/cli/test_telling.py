"""What commands say of logs, and when a log is not whole."""

from __future__ import annotations

from pathlib import PurePath

import pytest
from msgspec.structs import replace

from can_stream.logs.books import LogBooks
from can_stream.logs.log_blocks import LogProblem
from edge_agent.cli.logs.telling import are_whole, books_json, tell_logs

DRIVE = LogBooks(PurePath("a.log"), "candump", 4, 2, {"comments": 1}, 1, 1_766_417_462 * 10**9)


def test_books_come_first_then_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    problem = LogProblem(DRIVE.path, 2, 1, "not a candump line", "x\x1b[2J")
    tell_logs([DRIVE, replace(DRIVE, path=PurePath("b\x1b.log"))], [problem], 5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "a.log: 4 lines: 2 frames, 1 other (comments: 1), 1 unreadable"
    assert lines[2] == "Warning: 2 lines or records could not be read and were left out:"
    assert lines[4].startswith("Warning: --start-time is not used")
    assert not any("\x1b" in line for line in lines)


def test_a_log_is_whole_where_something_could_be_read_to_its_end() -> None:
    assert are_whole([DRIVE])
    assert are_whole([replace(DRIVE, items=0, frames=0, others={}, unreadable=0)]), "an empty log"
    assert not are_whole([replace(DRIVE, items=2, frames=0)])
    assert not are_whole([DRIVE, replace(DRIVE, is_cut=True)])


def test_for_programs_all_logs_are_added_up() -> None:
    assert books_json([DRIVE, replace(DRIVE, others={"comments": 2, "blank lines": 1})]) == {
        "unreadable": 2,
        "others": {"comments": 3, "blank lines": 1},
    }
