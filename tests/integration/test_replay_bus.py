"""`edge-agent replay --to`: what another bus receives, and what it says where a frame is not sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import can
import pytest
from click.testing import CliRunner

from edge_agent.bus.python_can_bus import row_of
from edge_agent.cli.logs.replay import replay
from edge_agent.replay.to_bus import parse_target
from tests.helpers.agents import RegisteredAgent, agent_environment, run_agent
from tests.helpers.conditions import eventually
from tests.helpers.processes import Process, installed_command

LOG = """\
(1766417462.000001) can0 123#1122334455667788
(1766417462.000002) can0 18DAF110#02010C
(1766417462.000003) can0 7FF#R5
(1766417462.000004) can0 123##1AABBCC
(1766417462.000005) can0 001#
"""


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Iterator[can.BusABC]:
    with can.Bus(request.node.name, "virtual", ignore_config=True) as bus:
        yield bus


def replayed(log: Path, channel: str) -> tuple[int, dict[str, float]]:
    done = CliRunner().invoke(replay, [str(log), "--to", f"virtual:{channel}", "--speed", "max"])
    return done.exit_code, json.loads(done.stdout.splitlines()[-1])


def test_another_bus_receives_every_frame_as_it_was(
    peer: can.BusABC, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    log = tmp_path / "drive.log"
    log.write_text(LOG)
    status, summary = replayed(log, request.node.name)
    assert status == 0
    assert (summary["frames"], summary["acknowledged"], summary["lost"]) == (5, 5, 0)
    rows = [row_of(message) for message in iter(lambda: peer.recv(0), None)]
    assert [row[1:] for row in rows if row] == [
        (0x123, 0, 8, bytes.fromhex("1122334455667788")),
        (0x18DAF110, 1, 3, bytes.fromhex("02010C")),
        (0x7FF, 2, 5, b""),
        (0x123, 8 | 16, 3, bytes.fromhex("AABBCC")),
        (0x001, 0, 0, b""),
    ]


def test_error_frames_are_not_transmitted_and_have_a_count_of_their_own(
    peer: can.BusABC, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    log = tmp_path / "errors.log"
    log.write_text(LOG + "(1766417462.000006) can0 20000004#0008000000000000\n")
    status, summary = replayed(log, request.node.name)
    assert status == 0
    assert (summary["frames"], summary["acknowledged"], summary["lost"]) == (6, 5, 0)
    assert summary["error_frames"] == 1


def test_targets_are_an_interface_and_a_channel() -> None:
    assert parse_target("udp_multicast:ff15:7079::1") == ("udp_multicast", "ff15:7079::1")
    for text in ("", "can0", ":can0", "socketcan:"):
        with pytest.raises(ValueError, match="INTERFACE:CHANNEL"):
            parse_target(text)


def test_a_bus_that_a_running_agent_listens_to_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "drive.log"
    log.write_text(LOG)
    token_file = tmp_path / "van7.token"
    token_file.touch(0o600)
    token_file.write_text("cea_agent_" + "x" * 43)
    agent = RegisteredAgent("van7", token_file)
    buses = [
        {"id": f"van7-{mode}", "interface": "virtual", "channel": mode, "mode": mode}
        for mode in ("listen_only", "normal")
    ]
    command = [*installed_command("edge-agent"), "replay", log, "--speed", "max", "--to"]
    with run_agent(agent, "http://127.0.0.1:9", buses) as running:
        eventually((tmp_path / "edge-agent" / "van7.sock").exists, "the status socket")
        for words, status, said in (
            (["virtual:listen_only"], 1, "the running agent van7 (process"),
            (["virtual:listen_only", "--force"], 0, ""),
            (["virtual:normal"], 0, ""),
        ):
            with Process([*command, *words], environment=agent_environment(tmp_path)) as process:
                assert process.wait() == status, process.errors
                assert said in process.errors
                assert ("has it as van7-listen_only" in process.errors) is (status == 1)
        assert running.is_running
