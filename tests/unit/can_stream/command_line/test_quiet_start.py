"""Ctrl-C is the system's while a program loads, ours from its command on, and nobody's in the background."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

import edge_agent.start
import stream_server.start
from can_stream.command_line.quiet_start import end_at_ctrl_c, take_ctrl_c


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_it_ends_the_process_until_it_is_taken_back() -> None:
    end_at_ctrl_c()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    take_ctrl_c()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_was_started_to_ignore_it_does() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_at_ctrl_c()
    take_ctrl_c()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("begin", [edge_agent.start, stream_server.start], ids=lambda begin: begin.__name__)
def test_a_program_has_it_back_once_its_command_is_loaded(
    begin: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["any", "completion", "bash"])
    with pytest.raises(SystemExit) as end:
        begin.main()
    assert end.value.code == 0
    assert "_COMPLETE=bash_complete" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
