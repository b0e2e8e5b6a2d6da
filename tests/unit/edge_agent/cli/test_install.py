"""Putting the services' files in place below a directory: what is written, left alone, and run."""

from __future__ import annotations

import configparser
import os
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from edge_agent.bus.reader import ReaderLimits
from edge_agent.cli.main import main
from edge_agent.cli.parameters import AGENT_CONFIG
from edge_agent.cli.set_up.install import (
    AGENT_FILES,
    APPLY_LIMITS,
    APPLY_RULES,
    MARK,
    RELOAD_RULES,
    RELOAD_UNITS,
    SERVER_FILES,
    TEMPLATES,
    System,
    SystemFile,
    unusable,
)
from edge_agent.config.loading import load_agent_config
from stream_server.config import read_config

FILES = AGENT_FILES + SERVER_FILES
SCRIPTS = Path("/srv/agent/bin")
UNIT = "etc/systemd/system/edge-agent.service"


class Machine:
    """A system below a directory, and the commands that were run on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commands: list[tuple[str, ...]] = []

    def run(self, command: Sequence[str]) -> None:
        self.commands.append(tuple(command))

    def install(self, files: Sequence[SystemFile] = FILES, *, dry_run: bool = False) -> list[str]:
        return System(self.root, self.run, dry_run).install(files, SCRIPTS, AGENT_CONFIG)

    def uninstall(self, *, dry_run: bool = False) -> list[str]:
        return System(self.root, self.run, dry_run).uninstall(FILES)

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.root)): path.read_text()
            for path in self.root.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.read(TEMPLATES / name)
    return parser


def test_everything_is_put_in_place_once_and_the_system_told(machine: Machine) -> None:
    lines = machine.install()
    assert [line.split() for line in lines] == [["created", str(file.target)] for file in FILES]
    assert machine.commands == [RELOAD_UNITS, RELOAD_RULES, APPLY_RULES, APPLY_LIMITS]
    before = machine.files()
    assert f"ExecStart={SCRIPTS}/edge-agent run --config /etc/edge-agent/agent.toml\n" in before[UNIT]
    assert "/opt/" not in before[UNIT]
    machine.commands.clear()
    assert {line.split()[0] for line in machine.install()} == {"unchanged", "kept"}
    assert machine.commands == []
    assert machine.files() == before
    assert {(machine.root / name).stat().st_mode & 0o777 for name in before} == {0o644}


def test_an_older_version_is_brought_up_to_date_alone(machine: Machine) -> None:
    machine.install()
    (machine.root / UNIT).write_text(f"{MARK}\n[Service]\n")
    machine.commands.clear()
    assert [line.split()[1] for line in machine.install() if "updated" in line] == [f"/{UNIT}"]
    assert machine.commands == [RELOAD_UNITS]


def test_a_dry_run_says_the_same_and_does_nothing(machine: Machine) -> None:
    told = machine.install(dry_run=True)
    assert machine.files() == {}
    assert [line.replace("would create", "created").split() for line in told] == [
        line.split() for line in machine.install()
    ]
    before = machine.files()
    machine.commands.clear()
    assert all("would remove" in line for line in machine.uninstall(dry_run=True))
    assert machine.files() == before
    assert machine.commands == []


def test_what_somebody_else_put_there_stops_it_before_anything_is_changed(machine: Machine) -> None:
    theirs = machine.root / SERVER_FILES[0].target.relative_to("/")
    theirs.parent.mkdir(parents=True)
    theirs.write_text("[Service]\n")
    with pytest.raises(click.ClickException, match="not put there by this command"):
        machine.install()
    assert list(machine.files().values()) == ["[Service]\n"]
    assert machine.commands == []


def test_a_masked_unit_is_not_unmasked(machine: Machine) -> None:
    masked = machine.root / UNIT
    masked.parent.mkdir(parents=True)
    masked.symlink_to("/dev/null")
    with pytest.raises(click.ClickException, match="not put there by this command"):
        machine.install()
    assert machine.uninstall() == []
    assert masked.is_symlink()


def test_uninstalling_takes_away_ours_alone(machine: Machine) -> None:
    machine.install()
    kept = {
        "etc/edge-agent/agent.toml": "changed",
        "etc/systemd/system/edge-agent.service.d/override.conf": "[Service]\n",
        "etc/systemd/network/80-can.network": "[Match]\n",
        "etc/sysctl.d/70-can-receive-buffers.conf": "net.core.rmem_max = 1\n",
    }
    for name, text in kept.items():
        (machine.root / name).parent.mkdir(exist_ok=True)
        (machine.root / name).write_text(text)
    machine.commands.clear()
    lines = machine.uninstall()
    assert len(lines) == 8
    assert machine.commands == [
        ("systemctl", "disable", "--now", "edge-agent.service"),
        ("systemctl", "disable", "--now", "edge-agent-helper.socket"),
        ("systemctl", "disable", "--now", "edge-agent-helper.service"),
        ("systemctl", "disable", "--now", "stream-server.service"),
        RELOAD_UNITS, RELOAD_RULES, APPLY_RULES,
    ]  # fmt: skip
    assert set(machine.files()) == {*kept, "etc/stream-server/server.toml"}
    assert machine.uninstall() == []


def test_another_configuration_is_what_the_unit_names(machine: Machine) -> None:
    System(machine.root, machine.run).install(AGENT_FILES, SCRIPTS, Path("/etc/van7.toml"))
    assert f"ExecStart={SCRIPTS}/edge-agent run --config /etc/van7.toml\n" in machine.files()[UNIT]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/home/pi/venv/bin", "hidden"),
        ("/root/venv/bin", "hidden"),
        ("/tmp/x", "hidden"),
        ("/opt/my agent/bin", "cannot stand in a unit"),
        ("/opt/100%/bin", "cannot stand in a unit"),
        ("/opt/$HOME/bin", "cannot stand in a unit"),
    ],
)
def test_paths_that_a_service_cannot_use_are_refused(path: str, reason: str) -> None:
    (problem,) = unusable([Path("/opt/can-edge-agent/bin"), Path(path)])
    assert path in problem
    assert reason in problem


def test_examples_are_valid_and_what_is_ours_is_marked() -> None:
    assert load_agent_config(TEMPLATES / "agent.toml").server.url == "https://stream.example.com"
    assert read_config(TEMPLATES / "server.toml").server.port == 8080
    for file in FILES:
        assert file.example != (TEMPLATES / file.template).read_text().startswith(MARK)


def test_setting_up_interfaces_has_one_privilege_and_the_agents_configuration() -> None:
    service = unit("edge-agent-can@.service")["Service"]
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == "CAP_NET_ADMIN"
    assert service["ExecStart"].endswith("/edge-agent set-up-can --config /etc/edge-agent/agent.toml %I")


def test_a_driver_that_hangs_is_restarted_within_thirty_seconds() -> None:
    service = unit("edge-agent.service")["Service"]
    waits = sum(int(service[name]) for name in ("WatchdogSec", "TimeoutAbortSec", "RestartSec"))
    assert 1.2 * ReaderLimits().hang_read_seconds + waits <= 27  # which leaves three for Python to start


def test_what_has_no_system_or_no_root_is_told() -> None:
    assert "give --system" in CliRunner().invoke(main, ["install"]).output
    if not Path("/run/systemd/system").exists():
        for command in ("install", "uninstall"):
            result = CliRunner().invoke(main, [command, "--system"])
            assert result.exit_code == 1
            assert "systemd does not run this machine" in result.output
    elif os.geteuid() != 0:
        assert "run `sudo " in CliRunner().invoke(main, ["install", "--system"]).output
