"""The file that stops the relay, and the one without which nothing is sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent.errors import RelayStopError
from edge_agent.relay.stopping import is_enabled, is_stopped, start, stop, stop_file


def test_it_is_stopped_until_it_is_started(tmp_path: Path) -> None:
    path = stop_file(tmp_path / "state", "van7-can0")
    assert not is_stopped(path)
    assert stop(path)
    assert is_stopped(path)
    assert not stop(path), "already"
    assert is_stopped(path)
    assert start(path)
    assert not is_stopped(path)
    assert not start(path)


def test_one_dongle_is_not_the_other(tmp_path: Path) -> None:
    stop(stop_file(tmp_path, "a"))
    assert is_stopped(stop_file(tmp_path, "a"))
    assert not is_stopped(stop_file(tmp_path, "b"))


def test_a_link_that_leads_nowhere_is_a_stop_and_is_not_followed(tmp_path: Path) -> None:
    path = stop_file(tmp_path, "a")
    path.symlink_to(tmp_path / "elsewhere")
    assert is_stopped(path)
    assert not stop(path)
    assert not (tmp_path / "elsewhere").exists()


def test_what_cannot_be_known_is_a_stop(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file, not a directory")
    path = stop_file(tmp_path / "state", "a")
    assert is_stopped(path)
    with pytest.raises(RelayStopError, match=r"state.*: run this command as"):
        stop(path)


def test_nothing_is_enabled_without_its_file(tmp_path: Path) -> None:
    switch = tmp_path / "switch"
    assert is_enabled(None)
    assert not is_enabled(switch)
    switch.touch()
    assert is_enabled(switch)
    assert not is_enabled(Path(os.fspath(switch)) / "below")
