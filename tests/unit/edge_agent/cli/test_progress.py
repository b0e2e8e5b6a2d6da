"""How far a command is: on a terminal, and nowhere else."""

from __future__ import annotations

import io
import os
import pty
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TextIO

import pytest
from pytest_mock import MockerFixture

from edge_agent.cli.progress import PERIOD_SECONDS, Progress


class Terminal:
    """A terminal in place of standard error."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        self.stream: TextIO = os.fdopen(theirs, "w")

    def shown(self) -> str:
        """What it shows since it was looked at last: up to a mark, for a terminal takes its time."""
        self.stream.write("\0")
        self.stream.flush()
        shown = b""
        while not shown.endswith(b"\0"):
            shown += os.read(self._ours, 65_536)
        return shown[:-1].decode()

    def close(self) -> None:
        self.stream.close()
        os.close(self._ours)


def errors_go_to(stream: TextIO, mocker: MockerFixture) -> None:
    """Not by way of `sys`, whose stream the test runner changes between set-up and test."""
    mocker.patch("edge_agent.cli.progress.sys", SimpleNamespace(stderr=stream))


@pytest.fixture
def terminal(mocker: MockerFixture) -> Iterator[Terminal]:
    made = Terminal()
    errors_go_to(made.stream, mocker)
    yield made
    made.close()


@pytest.fixture
def now(mocker: MockerFixture) -> list[float]:
    """The time, which a test sets."""
    time = [1000.0]
    mocker.patch("time.monotonic", side_effect=lambda: time[0])
    return time


def test_a_terminal_shows_how_far_it_is_and_what_is_said(terminal: Terminal, now: list[float]) -> None:
    with Progress() as progress:
        terminal.shown()
        assert progress.is_due
        progress.show(0.25, "1000 frames")
        first = terminal.shown()
        assert "25%" in first
        assert "1000 frames" in first
        progress.show(1.0, "4000 frames")
        assert "100%" in terminal.shown()
    assert terminal.shown().endswith("\n"), "what is said next begins a line"


def test_it_is_due_every_half_second(terminal: Terminal, now: list[float]) -> None:
    with Progress() as progress:
        progress.show(0.1, "")
        assert not progress.is_due
        now[0] += PERIOD_SECONDS - 0.01
        assert not progress.is_due
        now[0] += 0.01
        assert progress.is_due


def test_it_never_goes_back(terminal: Terminal, now: list[float]) -> None:
    with Progress() as progress:
        progress.show(0.5, "")
        terminal.shown()
        progress.show(0.2, "another lap")
        shown = terminal.shown()
    assert "50%" in shown
    assert "another lap" in shown


def test_a_fraction_beyond_the_end_is_the_end(terminal: Terminal, now: list[float]) -> None:
    with Progress() as progress:
        progress.show(1.7, "")
        assert "100%" in terminal.shown()


def test_who_hides_it_sees_nothing(terminal: Terminal, now: list[float]) -> None:
    with Progress(hidden=True) as progress:
        assert not progress.is_due
        progress.show(0.5, "1000 frames")
    assert terminal.shown() == ""


def test_a_file_gets_nothing(mocker: MockerFixture) -> None:
    written = io.StringIO()
    errors_go_to(written, mocker)
    with Progress() as progress:
        assert not progress.is_due
        progress.show(0.5, "1000 frames")
    assert written.getvalue() == ""


def test_a_command_that_fails_leaves_the_cursor_on_a_line_of_its_own(terminal: Terminal) -> None:
    def fail() -> None:
        with Progress() as progress:
            progress.show(0.5, "")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert terminal.shown().endswith("\n")
