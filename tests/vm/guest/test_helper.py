"""The helper as it is installed: started by its socket, in its sandbox, for the agent alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.helper.asking import empty_queue, is_reachable
from edge_agent.host.can_link import read_can_link
from tests.helpers.conditions import eventually
from tests.helpers.processes import installed_command, run_command

AGENT, HELPER, SOCKET = "edge-agent.service", "edge-agent-helper.service", "edge-agent-helper.socket"
CONFIG = Path("/etc/edge-agent/agent.toml")
TOKEN = Path("/var/lib/edge-agent/token")
BUS, OTHER = "vcan0", "vcan1"
PROCESSES = Path("/sys/fs/cgroup/system.slice") / AGENT / "cgroup.procs"
# A process that root has put among those of the agent's service.
ASK = """
import asyncio, os, pathlib, sys
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
from edge_agent.helper.asking import empty_queue
print(asyncio.run(empty_queue(sys.argv[2])).refused or "done")
"""
FILE = f"""
[agent]
id = "van7"
[server]
url = "http://127.0.0.1:8080"
[relay]
transmit = "all"
max_age_seconds = 2
[[dongles]]
channel = "{BUS}"
mode = "normal"
[[dongles]]
channel = "{OTHER}"
"""


@pytest.fixture
def agent() -> Iterator[None]:
    """The agent as a service, with a bus that groups may put frames on, and one that it only listens to."""
    run_command([*installed_command("edge-agent"), "install", "--system"])
    CONFIG.write_text(FILE)
    is_new = not TOKEN.exists()
    if is_new:  # there is no server here that would know it
        TOKEN.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        TOKEN.write_text("a" * 43)
    run_command(["systemctl", "start", AGENT])
    yield
    run_command(["systemctl", "stop", AGENT])
    run_command([*installed_command("edge-agent"), "uninstall", "--system"])
    assert not is_reachable()
    if is_new:
        TOKEN.unlink()


def ask(channel: str) -> str:
    """What the helper says to a process of the agent's service."""
    return run_command([sys.executable, "-c", ASK, PROCESSES, channel]).strip()


def test_the_agents_service_has_an_interface_taken_down_and_up(agent: None) -> None:
    assert is_reachable(), "the agent's service wants the socket"
    with subprocess.Popen(
        ["ip", "-o", "monitor", "link", "dev", BUS], stdout=subprocess.PIPE, text=True
    ) as seen:
        assert asyncio.run(empty_queue(BUS)).refused == "peer", "root, but not the service"
        assert ask("lo") == ask(OTHER) == "interface"
        assert ask(BUS) == "done"
        assert ask(BUS) == "too_soon"
        link = read_can_link(BUS)
        assert link is not None
        assert link.is_up
        seen.terminate()
        assert seen.stdout is not None
        changes = ["state UP" in line or ",UP" in line for line in seen.stdout]
    assert False in changes, "it was down"
    assert changes[-1]
    eventually(
        lambda: run_command(["systemctl", "is-active", AGENT]).strip() == "active", "the agent goes on"
    )
    report = run_command(["systemd-analyze", "security", "--no-pager", HELPER])
    level = float(report.rpartition("exposure level for")[2].split(":")[1].split()[0])
    assert level <= 1.7, report
    for unit in (HELPER, SOCKET):
        done = subprocess.run(["systemd-analyze", "verify", unit], check=True, capture_output=True, text=True)
        assert [line for line in done.stderr.splitlines() if unit in line] == []
