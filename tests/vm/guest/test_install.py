"""The wheel, installed in the guest as a user does, and its commands."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

import edge_agent
import stream_server
from tests.helpers.processes import Process, installed_command, run_command


def test_what_runs_here_is_the_installed_wheel() -> None:
    installed = Path(sysconfig.get_path("purelib"))
    for package in (edge_agent, stream_server):
        assert package.__file__ is not None
        assert Path(package.__file__).is_relative_to(installed)


@pytest.mark.parametrize("command", ["edge-agent", "stream-server"])
def test_the_commands_are_there(command: str) -> None:
    assert f"Usage: {command}" in run_command([*installed_command(command), "--help"])


def test_a_configuration_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    check = [*installed_command("edge-agent"), "check-config", path]
    path.write_text('[server]\nurl = "http://127.0.0.1:8000"\n[[dongles]]\nchannel = "vcan0"\n')
    run_command(check)
    path.write_text('[server]\nurl = "http://127.0.0.1:8000"\n[[dongles]]\nchannel = ""\n')
    with Process(check) as process:
        assert process.wait() == 1
        assert "dongles[0].channel" in process.output + process.errors


def test_systemd_runs_the_guest_and_keeps_a_journal() -> None:
    assert Path("/proc/1/comm").read_text() == "systemd\n"
    assert "job.service" in run_command(["journalctl", "--no-pager", "-u", "job.service"])
