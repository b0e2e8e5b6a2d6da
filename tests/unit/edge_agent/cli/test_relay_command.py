"""`edge-agent relay`: shown as the agent says, stopped with and without one, wrong uses told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from can_stream.protocol.relay_control import Totals
from edge_agent.cli.main import main
from edge_agent.relay.account.counted import IdCounts
from edge_agent.relay.figures import RelayFigures
from edge_agent.relay.stopping import is_stopped, stop_file
from tests.helpers.said_status import agent_at

CONFIG: Final = """
[server]
url = "http://localhost:1"
[agent]
id = "van7"
[[dongles]]
interface = "virtual"
channel = "a"
mode = "normal"
[[dongles]]
interface = "virtual"
channel = "b"
mode = "normal"
[[dongles]]
interface = "virtual"
channel = "c"
"""
PERMITTED: Final = """[relay]
transmit = "all"
dongles = ["van7-a", "van7-b"]
max_age_seconds = 2
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an agent of this user keeps its state; none of the machine is seen."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    return tmp_path / "state"


def config(tmp_path: Path, more: str = PERMITTED) -> str:
    path = tmp_path / "agent.toml"
    path.write_text(CONFIG + more)
    return str(path)


def relay(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["relay", *map(str, words)])


def figures(dongle_id: str, directory: Path) -> RelayFigures:
    return RelayFigures(
        dongle_id, connected=True, message="connected", stop_file=str(stop_file(directory, dongle_id)),
        source_dongle_id="van8-can0", totals=Totals(sent=3),
    )  # fmt: skip


def test_it_is_shown_for_all_dongles_or_one(tmp_path: Path) -> None:
    socket = tmp_path / "s.sock"
    with agent_at(socket, figures("van7-a", tmp_path), figures("van7-b", tmp_path)):
        shown = relay("show", "--socket", socket)
        assert shown.exit_code == 0
        assert [line for line in shown.output.splitlines() if not line.startswith(" ")] == [
            "van7-a: from van8-can0", "van7-b: from van8-can0",
        ]  # fmt: skip
        one = relay("van7-b", "--socket", socket)
        assert one.exit_code == 0
        assert "van7-a" not in one.output
        assert "van7-b: from van8-can0\n  3 sent\n" in one.output
        unknown = relay("van7-x", "--socket", socket)
        assert unknown.exit_code == 1
        assert "no relay may transmit to van7-x: it may to van7-a, van7-b" in unknown.output
    with agent_at(socket):
        off = relay("show", "--socket", socket).output
        assert "`[relay] transmit` of the agent's file is off" in off
        assert "`edge-agent doctor --relay`" in off


def test_the_counts_by_id_are_shown_and_are_in_the_document(tmp_path: Path) -> None:
    socket = tmp_path / "s.sock"
    rows = [IdCounts("0x123", {"dry_run": 3}), IdCounts(None, {"not_allowed": 1})]
    one = replace(figures("van7-a", tmp_path), by_id=rows)
    with agent_at(socket, one, figures("van7-b", tmp_path)):
        assert "    0x123  3 dry_run\n    other ids  1 not_allowed\n" in relay("--socket", socket).output
        said = relay("van7-a", "--json", "--socket", socket)
    assert said.exit_code == 0
    document = json.loads(said.output)
    assert (document["agent_id"], len(document["relays"])) == ("van7", 1)
    assert document["relays"][0]["dongle_id"] == "van7-a"
    assert document["relays"][0]["by_id"] == [
        {"id": "0x123", "frames": {"dry_run": 3}},
        {"id": None, "frames": {"not_allowed": 1}},
    ]


def test_where_no_agent_answers_that_is_said(tmp_path: Path) -> None:
    for words in ((), ("show",), ("van7-a",)):
        shown = relay(*words, "--socket", tmp_path / "none")
        assert shown.exit_code == 2
        assert "no agent runs here" in shown.output
    assert relay().exit_code == 2


def test_a_running_agent_says_where_its_stops_are(tmp_path: Path) -> None:
    """It may be another user's, whose state is somewhere else."""
    socket, elsewhere = tmp_path / "s.sock", tmp_path / "elsewhere"
    with agent_at(socket, figures("van7-a", elsewhere), figures("van7-b", elsewhere)):
        said = relay("stop", "van7-b", "--socket", socket)
        assert said.exit_code == 0
        assert said.output == "van7-b: the relay is stopped, until `edge-agent relay start van7-b`\n"
        assert not is_stopped(stop_file(elsewhere, "van7-a"))
        assert is_stopped(stop_file(elsewhere, "van7-b"))
        assert "stopped already" in relay("stop", "--socket", socket).output
        assert is_stopped(stop_file(elsewhere, "van7-a"))
        assert "van7-a: the relay goes on" in relay("start", "--socket", socket).output
        assert "was not stopped here" in relay("start", "van7-a", "--socket", socket).output
        assert not is_stopped(stop_file(elsewhere, "van7-b"))


def test_it_is_stopped_before_an_agent_runs(tmp_path: Path, state: Path) -> None:
    path = config(tmp_path)
    assert relay("stop", "--config", path).exit_code == 0
    assert sorted(one.name for one in state.iterdir()) == ["relay-stopped-van7-a", "relay-stopped-van7-b"]
    assert relay("start", "van7-a", "--config", path).exit_code == 0
    assert [one.name for one in state.iterdir()] == ["relay-stopped-van7-b"]
    refused = relay("stop", "van7-c", "--config", path)
    assert refused.exit_code == 1
    assert "no relay may transmit to van7-c: it may to van7-a, van7-b" in refused.output


def test_a_stop_that_stands_for_nothing_is_said_to(tmp_path: Path) -> None:
    said = relay("stop", "--config", config(tmp_path, ""))
    assert said.exit_code == 1
    assert "`[relay] transmit` of the agent's file is off" in said.output


def test_a_stop_that_cannot_be_made_is_an_error_with_its_remedy(tmp_path: Path, state: Path) -> None:
    state.write_text("no directory")
    said = relay("stop", "--config", config(tmp_path))
    assert said.exit_code == 1
    assert "run this command as the agent's user, or as root" in said.output


def test_a_word_too_many_is_a_wrong_use(tmp_path: Path) -> None:
    assert relay("stop", "van7-a", "van7-b").exit_code == 2
    assert relay("van7-a", "van7-b").exit_code == 2
    assert "Did you mean 'stop'?" in relay("stpo").output
    assert relay("stop", "--socket", tmp_path / "none").exit_code == 1
