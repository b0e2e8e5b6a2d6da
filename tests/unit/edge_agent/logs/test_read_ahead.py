"""Logs that another process reads: what comes of them, how they end, and that no process is left."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from edge_agent.logs.read_ahead import LogEnd, LogPart, ReadAhead
from edge_agent.logs.selection import Selection, parse_id_range
from tests.helpers.candump_logs import write_log

FRAMES = 30_000  # more than one block, and more than fits into a pipe


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs") / "drive.log", FRAMES, 4_000)


def received(source: ReadAhead) -> tuple[list[LogPart], LogEnd]:
    parts = []
    while isinstance(part := source.receive(), LogPart):
        parts.append(part)
    return parts, part


def reading_pid(before: Sequence[BaseProcess]) -> int:
    """The process that has been begun since."""
    (pid,) = {one.pid for one in multiprocessing.active_children()} - {one.pid for one in before}
    assert pid is not None
    return pid


def test_all_frames_come_in_order_and_then_the_end(drive: Path) -> None:
    with ReadAhead(Selection([drive])) as source:
        parts, end = received(source)
    assert len(parts) > 1
    assert sum(len(part.frames) for part in parts) == FRAMES
    stamps = np.concatenate([part.frames.timestamp_ns for part in parts])
    assert (np.diff(stamps) > 0).all()
    assert [part.channels for part in parts] == [["can0"]] * len(parts)
    fractions = [part.fraction for part in parts]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert end == LogEnd(0, [], None, (), end.books)
    assert [(book.items, book.frames, book.unreadable) for book in end.books] == [(FRAMES, FRAMES, 0)]


def test_what_is_not_selected_does_not_come(drive: Path) -> None:
    with ReadAhead(Selection([drive], ids=[parse_id_range("7E8")], channels={"can0": "obd"})) as source:
        parts, _ = received(source)
    assert {number for part in parts for number in part.frames.arbitration_id.tolist()} == {0x7E8}
    assert parts[0].channels == ["obd"]


def test_the_end_tells_what_could_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "damaged.log"
    path.write_text("(1.000000) can0 100#01\ngarbage\n(2.000000) can0 100#02\n")
    with ReadAhead(Selection([path])) as source:
        parts, end = received(source)
    assert sum(len(part.frames) for part in parts) == 2
    assert (end.unreadable, end.error) == (1, None)
    assert str(end.problems[0]).startswith(f"{path}: line 2: ")


def test_a_log_that_is_gone_is_told_behind_what_came_before(drive: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.log"
    with ReadAhead(Selection([drive, missing])) as source:
        parts, end = received(source)
    assert sum(len(part.frames) for part in parts) == FRAMES
    assert end.error is not None
    assert str(missing) in end.error


def test_a_reading_process_that_is_killed_is_told_as_such(drive: Path) -> None:
    before = multiprocessing.active_children()
    with ReadAhead(Selection([drive] * 4)) as source:
        assert isinstance(source.receive(), LogPart)
        os.kill(reading_pid(before), signal.SIGKILL)
        _, end = received(source)
    assert end.error is not None
    assert "is there too little memory?" in end.error


def test_who_stops_early_leaves_no_process_behind(drive: Path) -> None:
    before = multiprocessing.active_children()
    with ReadAhead(Selection([drive] * 4)) as source:
        assert isinstance(source.receive(), LogPart)
    assert multiprocessing.active_children() == before


def test_an_interrupt_at_the_terminal_is_for_the_one_that_uses_the_frames(drive: Path) -> None:
    before = multiprocessing.active_children()
    with ReadAhead(Selection([drive] * 4)) as source:
        assert isinstance(source.receive(), LogPart)
        os.kill(reading_pid(before), signal.SIGINT)
        parts, end = received(source)
    assert end.error is None
    assert parts
