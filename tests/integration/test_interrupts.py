"""Ctrl-C in commands as they are installed: one word, exit status 130, and what was written is whole."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.agents import log_dongle, run_agent, wait_for_recorded
from tests.helpers.candump_logs import write_log
from tests.helpers.processes import EnrolledAgent, Process, StreamServer, installed_command, replay_summary

FRAMES: Final = 400


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "drive.log", FRAMES, 100)


def interrupt(process: Process) -> None:
    process.signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in process.errors


def test_printed_lines_are_whole(log: Path) -> None:
    with Process([*installed_command("edge-agent"), "replay", log, "--print"]) as process:
        process.wait_for_line(".*can_frame.*")
        interrupt(process)
        assert all(json.loads(line)["type"] == "can_frame" for line in process.output.splitlines())
        assert len(process.output.splitlines()) < FRAMES


def test_a_replay_says_how_far_it_came_and_can_be_resumed(
    server: StreamServer, viewer: str, log: Path, tmp_path: Path
) -> None:
    agent = EnrolledAgent(server, "van7", tmp_path)
    options = ["--resume", str(tmp_path / "place")]
    with agent.replay(log, options=options) as replay:
        wait_for_recorded(server, "van7-can0", viewer, 50)
        interrupt(replay)
        summary = json.loads(replay.output.splitlines()[-1])
        assert 0 < summary["frames"] < FRAMES
    with agent.replay(log, options=[*options, "--speed", "10"]) as replay:
        assert replay_summary(replay).acknowledged == FRAMES


def test_the_service_ends_in_order(server: StreamServer, viewer: str, log: Path, tmp_path: Path) -> None:
    agent = EnrolledAgent(server, "van8", tmp_path)
    with run_agent(agent, server.url, [log_dongle(log, "van8-can0", loop=True)]) as running:
        wait_for_recorded(server, "van8-can0", viewer, 1)
        interrupt(running)


@pytest.mark.parametrize("name", ["edge-agent", "stream-server"])
def test_nothing_is_said_while_it_is_still_loading(name: str) -> None:
    # As early as can be seen from outside: the interpreter has read the first of our modules.
    command = [*map(str, installed_command(name)), "replay" if name == "edge-agent" else "run", "--help"]
    code = (
        "import sys, os, signal\n"
        "class Early:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Early())\n"
        f"sys.argv[:] = {command[1:]!r}\n"
        "exec(compile(open(sys.argv[0]).read(), sys.argv[0], 'exec'))\n"
    )
    done = subprocess.run([command[0], "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGINT  # of which a shell makes 130
    assert (done.stdout, done.stderr) == ("", "")
