"""`edge-agent doctor` about the relay, as a command: without an agent, and beside one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from can_stream.protocol.relay_control import GroupStanding
from edge_agent.cli.main import main
from edge_agent.relay.figures import RelayFigures
from edge_agent.relay.stopping import stop, stop_file
from tests.helpers.said_status import agent_at

CONFIG: Final = """
[server]
url = "http://localhost:1"
[agent]
id = "van7"
status_socket = "s.sock"
[[dongles]]
interface = "virtual"
channel = "a"
mode = "normal"
"""
PERMITTED: Final = '[relay]\ntransmit = "all"\n'


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an agent of this user keeps its state; none of the machine is seen."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    return tmp_path / "state"


def doctor(tmp_path: Path, more: str, *options: str) -> Result:
    path = tmp_path / "agent.toml"
    path.write_text(CONFIG + more)
    return CliRunner().invoke(main, ["doctor", "--config", str(path), *options])


def test_an_age_that_is_missing_is_the_first_thing_to_mend(tmp_path: Path) -> None:
    said = doctor(tmp_path, PERMITTED)
    assert said.exit_code == 1
    assert "1. " in said.output
    assert "relay.max_age_seconds: is required where `transmit` is not off" in said.output


def test_what_a_person_has_stopped_is_said_before_the_agent_runs(tmp_path: Path, state: Path) -> None:
    stop(stop_file(state, "van7-a"))
    said = doctor(tmp_path, f"{PERMITTED}max_age_seconds = 2\n").output
    assert "note van7-a: nothing will be relayed to it: `edge-agent relay stop` was said here" in said
    stop_file(state, "van7-a").unlink()
    said = doctor(tmp_path, f'{PERMITTED}max_age_seconds = 2\nenable_file = "on"\n').output
    assert f"note van7-a: nothing will be relayed to it: `enable_file` {tmp_path / 'on'} does not" in said
    (tmp_path / "on").touch()
    assert (
        "nothing will be"
        not in doctor(tmp_path, f'{PERMITTED}max_age_seconds = 2\nenable_file = "on"\n').output
    )


def test_a_gateway_that_has_nothing_to_do_with_a_relay_is_told_of_none_unless_it_asks(tmp_path: Path) -> None:
    assert "relay" not in doctor(tmp_path, "").output
    asked = doctor(tmp_path, "", "--relay").output
    assert "note van7-a: nothing is relayed to it: `transmit` of [relay] is off; set it" in asked


def test_beside_an_agent_what_is_meant_so_is_no_fault_and_the_rest_is(tmp_path: Path) -> None:
    idle = RelayFigures(
        "van7-a", connected=True, message="connected", stop_file="/s", confirms="bus",
        group=GroupStanding("van7-a", "vans", "inactive"),
    )  # fmt: skip
    file = f"{PERMITTED}max_age_seconds = 2\n"
    with agent_at(tmp_path / "s.sock", idle):
        said = doctor(tmp_path, file)
        assert said.exit_code == 0
        assert "Nothing is wrong." in said.output
        assert "note van7-a: group vans is not active" in said.output
    looped = GroupStanding("van7-a", "vans", "degraded", "loop: 0x123; take one group out of the circle")
    with agent_at(tmp_path / "s.sock", RelayFigures(
        "van7-a", connected=True, message="connected", stop_file="/s", confirms="bus", group=looped
    )):  # fmt: skip
        said = doctor(tmp_path, file)
        assert said.exit_code == 1
        assert "One thing is wrong:\n  1. van7-a: group vans is degraded: loop: 0x123" in said.output
