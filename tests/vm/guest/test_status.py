"""`edge-agent status` and `doctor` of the installed service: who may ask, and what is said of a bus."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers.conditions import eventually
from tests.helpers.processes import Process, StreamServer, installed_command, run_command
from tests.vm.can_utils import send, set_link

AGENT = "edge-agent.service"
CONFIG = Path("/etc/edge-agent/agent.toml")
TOKEN = Path("/var/lib/edge-agent/token")
NOBODY = 65534


class Said(NamedTuple):
    """What a command said."""

    status: int
    text: str


def ask(*arguments: str) -> Said:
    with Process([*installed_command("edge-agent"), *arguments]) as process:
        return Said(process.wait(), process.output + process.errors)


def until(*arguments: str, shows: str) -> Said:
    last = Said(-1, "")

    def look() -> bool:
        nonlocal last
        last = ask(*arguments)
        return shows in last.text

    eventually(look, f"{shows!r} of {arguments}", 60)
    return last


@pytest.fixture
def service(tmp_path: Path) -> Iterator[None]:
    """The agent as a service on vcan0, enrolled at a server that runs; gone afterwards."""
    run_command([*installed_command("edge-agent"), "install", "--system"])
    with StreamServer(tmp_path / "server") as server:
        secret = server.administer("enroll", "create", "--agent-id", "van9")
        enroll = [*installed_command("edge-agent"), "enroll", "--server", server.url, "--token-file", "-"]
        run_command([*enroll, "--agent-id", "van9"], stdin=secret)
        CONFIG.write_text(
            f'[agent]\nid = "van9"\n[server]\nurl = "{server.url}"\n[[dongles]]\nchannel = "vcan0"\n'
        )
        run_command(["systemctl", "start", AGENT])
        yield
    run_command(["systemctl", "stop", AGENT])
    run_command([*installed_command("edge-agent"), "uninstall", "--system"])
    for left in (CONFIG, TOKEN):
        left.unlink()


def test_root_may_ask_the_service_and_nobody_else(service: None) -> None:
    until("status", shows="OK: agent van9")
    send("vcan0", *["123#11"] * 5)
    assert until("status", shows="0 lost of 5 frames").status == 0
    doctor = ask("doctor")
    assert doctor.status == 0, doctor.text
    assert doctor.text.startswith("Nothing is wrong. OK: agent van9")
    command = list(map(str, [*installed_command("edge-agent"), "status"]))
    other = subprocess.run(command, check=False, capture_output=True, text=True, user=NOBODY, group=NOBODY)
    assert other.returncode == 2
    assert "you may not ask the agent at /run/edge-agent/status.sock" in other.stderr
    set_link("vcan0", "down")
    try:
        down = until("doctor", shows="1. van9-vcan0: ")
        assert down.status == 1
        assert "vcan0 is down" in down.text
        assert "FAILED: agent van9: bus.van9-vcan0" in ask("status").text
    finally:
        set_link("vcan0", "up")
    until("status", shows="OK: agent van9")
    assert Path("/var/lib/edge-agent/seen-ids-van9.json").exists()
    run_command(["systemctl", "kill", "-s", "KILL", AGENT])
    until("status", shows="OK: agent van9")  # systemd has started it again, at the same place
    run_command(["systemctl", "stop", AGENT])
    assert not Path("/run/edge-agent/status.sock").exists()
    stopped = ask("doctor")
    assert "One thing is wrong:\n  1. agent: no agent van9 runs here" in stopped.text


def test_without_a_network_that_is_what_the_doctor_says(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('[server]\nurl = "https://stream.example.com"\n[[dongles]]\nchannel = "vcan0"\n')
    said = ask("doctor", "--config", str(config))
    assert said.status == 1
    assert "server: this machine has no way to the network" in said.text
    assert "check the cable" in said.text
    assert "vcan0: no frame for the 2 s that were listened" in said.text
