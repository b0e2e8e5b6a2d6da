"""A server, an agent whose dongle it knows, and a browser, each new for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.candump_logs import write_log
from tests.helpers.chromium import running_chromium
from tests.helpers.processes import EnrolledAgent, StreamServer, replay_summary

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StreamServer]:
    with StreamServer(tmp_path / "data") as running:
        yield running


@pytest.fixture
def agent(server: StreamServer, tmp_path: Path) -> EnrolledAgent:
    """The agent van7, whose dongle van7-can0 the server has seen one frame of."""
    enrolled = EnrolledAgent(server, "van7", tmp_path)
    with enrolled.replay(write_log(tmp_path / "first.log", 1, 1)) as replay:
        assert replay_summary(replay).acknowledged == 1
    return enrolled


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser
