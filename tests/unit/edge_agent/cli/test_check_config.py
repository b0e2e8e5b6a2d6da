"""`edge-agent check-config`: one verdict on the file, and on what it names on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge_agent.cli.set_up.check_config import check_config

SERVER = '[server]\nurl = "https://stream.example.com"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.toml"


def checked(file: Path, text: str) -> Result:
    file.write_text(f'[agent]\nid = "van7"\n{SERVER}{text}')
    return CliRunner().invoke(check_config, [str(file)])


def refused(file: Path, text: str) -> list[str]:
    """Each problem, without the file's name."""
    result = checked(file, text)
    assert result.exit_code == 1
    assert "valid" not in result.output
    assert result.stdout == ""
    return [line.removeprefix(f"{file}: ") for line in result.stderr.removeprefix("Error: ").splitlines()]


def dongle(interface: str, rest: str = "", channel: str = "0") -> str:
    return f'[[dongles]]\ninterface = "{interface}"\nchannel = "{channel}"\n{rest}'


def test_an_interface_that_nobody_knows_is_named_with_what_is_meant(file: Path) -> None:
    assert refused(file, dongle("sockecan")) == [
        "dongles[0].interface: there is no interface 'sockecan': did you mean 'socketcan'?"
    ]
    (said,) = refused(file, dongle("abcdefgh"))
    assert "known are log, " in said
    assert "socketcan" in said
    assert checked(file, dongle("virtual")).exit_code == 0


def test_a_driver_that_is_not_installed_is_named_with_what_installs_it(file: Path) -> None:
    (said,) = refused(file, dongle("canalystii"))
    assert said.startswith("dongles[0].interface: the driver of canalystii is missing")
    assert "python-can[canalystii]" in said


def test_a_database_that_is_not_there_is_one_verdict(file: Path) -> None:
    (file.parent / "good.dbc").write_text('VERSION ""\nBO_ 1 A: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] "" X\n')
    text = dongle("virtual", 'databases = ["good.dbc", "missing.dbc"]\n')
    assert refused(file, text) == [f"dongles[0].databases: no file matches {file.parent}/missing.dbc"]
    result = checked(file, dongle("virtual", 'databases = ["good.dbc"]\n'))
    assert result.exit_code == 0
    assert "1 messages, 1 signals from 1 database files" in result.stdout


def test_everything_that_is_wrong_is_said_at_once(file: Path) -> None:
    ca_file = f'ca_file = "{file.parent}/ca.pem"\n'
    said = refused(file, ca_file + dongle("sockecan") + dongle("log", "", f"{file.parent}/gone.log"))
    assert [line.partition(":")[0] for line in said] == [
        "server.ca_file", "dongles[0].interface", "dongles[1].channel",
    ]  # fmt: skip
    assert "No such file" in said[0]
    assert "No such file" in said[2]


def test_what_is_permitted_and_not_in_force_is_said_to_be_so(file: Path) -> None:
    result = checked(file, dongle("virtual", 'mode = "normal"\n[transmit]\nmode = "all"\n'))
    assert result.exit_code == 0
    assert "which is not in force yet, for this version runs none" in result.stdout
    relayed = '[relay]\ntransmit = "all"\nmax_age_seconds = 2\n'
    said = checked(file, dongle("virtual", 'mode = "normal"\n' + relayed)).stdout
    assert "    may transmit every frame, none older than 2 s, by the relay\n" in said
    dry = checked(file, dongle("virtual", 'mode = "normal"\n' + relayed + "dry_run = true\n")).stdout
    assert "as a dry run: nothing is sent" in dry


def test_a_token_that_others_can_read_is_said_with_what_to_do(file: Path) -> None:
    rest = f'[agent]\nid = "van7"\n{dongle("virtual")}[server]\nurl = "http://10.0.0.7"\n'
    file.write_text(rest)
    result = CliRunner().invoke(check_config, [str(file)])
    assert result.exit_code == 0
    assert "is valid" in result.stdout
    assert "everyone on the way can read the token" in result.stderr
    assert "`allow_clear_text = true` below [server]" in result.stderr
    file.write_text(f"{rest}allow_clear_text = true\n")
    assert "which `server.allow_clear_text` allows" in CliRunner().invoke(check_config, [str(file)]).stderr
    assert checked(file, dongle("virtual")).stderr == ""


def test_a_token_file_that_others_can_read_is_named(file: Path) -> None:
    token = file.parent / "token"
    token.touch(mode=0o600)
    text = f'token_file = "{token}"\n{dongle("virtual")}'
    assert checked(file, text).stderr == ""
    token.chmod(0o644)
    result = checked(file, text)
    assert result.exit_code == 0
    assert f"run `chmod 600 {token}`" in result.stderr


def test_a_gate_on_a_signal_that_no_database_has_is_named_with_what_is_meant(file: Path) -> None:
    demo = Path(__file__).parents[4] / "dbc" / "demo-vehicle.dbc"
    text = dongle("virtual", f'mode = "normal"\ndatabases = ["{demo}"]\n')
    relay = '[relay]\ntransmit = "all"\nmax_age_seconds = 1\ngate = [{ signal = "%s", max = 0 }]\n'
    (problem,) = refused(file, text + relay % "Engine.VehicleSped")
    assert problem.startswith("relay.gate[0].signal: is Engine.VehicleSped, which no database of van7-0 has")
    assert "Engine.VehicleSpeed" in problem.partition("do you mean")[2]
    good = checked(file, text + relay % "Engine.VehicleSpeed")
    assert "while Engine.VehicleSpeed of van7-0 is at most 0" in good.output
