"""Setting interfaces up: what is done and said, and that nothing is up that acknowledges without leave."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from edge_agent.cli.main import main
from edge_agent.cli.set_up.set_up_can import Interfaces, configured, may_administer_network, set_up
from edge_agent.config.can_settings import CanSettings
from edge_agent.config.loading import load_agent_config
from edge_agent.errors import SetUpError
from edge_agent.host.can_link import CanLink
from edge_agent.host.can_set_up import Command
from tests.helpers.can_links import controller_link, virtual_link

Obey = Callable[[CanLink, Command], CanLink]
LISTENER = CanSettings("can0", bitrate=250_000)
UP, DOWN = ("ip", "link", "set", "can0", "up"), ("ip", "link", "set", "can0", "down")


class Driver:
    """An interface whose driver refuses commands with these words, and heeds `listen-only` or not."""

    def __init__(self, link: CanLink, refuses: str = "", *, heeds: bool = True) -> None:
        self.link, self.refuses, self.heeds = link, refuses, heeds
        self.commands: list[Command] = []
        self.told: list[str] = []

    def run(self, command: Command) -> str | None:
        if self.refuses and self.refuses in " ".join(command):
            return "RTNETLINK answers: Operation not supported"
        self.commands.append(command)
        self.link = replace(self.link, is_up=command[-1] == "up")
        words = dict(pairwise(command))
        if "listen-only" in words and self.heeds:
            self.link = replace(self.link, listen_only=words["listen-only"] == "on")
        return None

    def set_up(self, settings: CanSettings = LISTENER, *, dry_run: bool = False) -> list[str]:
        interfaces = Interfaces(lambda channel: self.link if channel == "can0" else None, self.run)
        set_up(settings, interfaces, self.told.append, dry_run=dry_run)
        return self.told


def test_what_differs_is_changed_and_said() -> None:
    driver = Driver(controller_link())
    assert driver.set_up(replace(LISTENER, tx_queue_length=100)) == [
        "can0: bitrate 500000 -> 250000, listen_only off -> on, tx_queue_length 10 -> 100",
        "  ip link set can0 txqueuelen 100",
        "  ip link set can0 down",
        "  ip link set can0 type can bitrate 250000 listen-only on",
        "  ip link set can0 up",
    ]
    assert [f"  {' '.join(command)}" for command in driver.commands] == driver.told[1:]


def test_what_is_set_up_is_left_alone() -> None:
    driver = Driver(controller_link(modes=2, bitrate=250_000))
    assert driver.set_up() == ["can0: is set up and up, nothing is changed"]
    assert driver.commands == []


def test_a_dry_run_says_it_and_does_nothing() -> None:
    driver = Driver(replace(controller_link(modes=2), is_up=False))
    told = driver.set_up(dry_run=True)
    assert told[0] == "can0: bitrate 500000 -> 250000, down -> up"
    assert told[-1] == "  would run ip link set can0 up"
    assert driver.commands == []


def test_a_driver_without_listen_only_stays_down() -> None:
    driver = Driver(controller_link(), refuses="listen-only on")
    with pytest.raises(SetUpError, match='has no listen-only mode, so it stays down: set `mode = "normal"`'):
        driver.set_up()
    assert UP not in driver.commands
    assert not driver.link.is_up


def test_a_driver_that_does_not_heed_listen_only_stays_down() -> None:
    driver = Driver(controller_link(), heeds=False)
    with pytest.raises(SetUpError, match="has no listen-only mode"):
        driver.set_up()
    assert UP not in driver.commands


def test_a_driver_that_cannot_restart_is_up_all_the_same() -> None:
    driver = Driver(controller_link(modes=2), refuses="restart-ms")
    told = driver.set_up(CanSettings("can0", listen_only=False, bitrate=500_000, restart_ms=100))
    assert driver.link.is_up
    assert not driver.link.listen_only
    assert "  `restart_seconds` has no effect: RTNETLINK answers: Operation not supported" in told


def test_what_else_a_driver_refuses_is_told_with_its_words() -> None:
    driver = Driver(controller_link(), refuses="bitrate 250000")
    with pytest.raises(SetUpError, match=r"can0: `ip link set can0 type can .*` failed: RTNETLINK answers"):
        driver.set_up()
    assert driver.commands == [DOWN]


def test_what_the_kernel_would_not_take_is_not_tried() -> None:
    driver = Driver(controller_link(bitrate=0))
    with pytest.raises(SetUpError, match="add `bitrate` to its dongle"):
        driver.set_up(CanSettings("can0"))
    with pytest.raises(SetUpError, match="there is no such interface"):
        driver.set_up(CanSettings("can1"))
    assert driver.commands == []


def test_a_virtual_bus_is_only_taken_up() -> None:
    driver = Driver(replace(virtual_link(), is_up=False))
    assert driver.set_up() == ["can0: down -> up", "  ip link set can0 up"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(
        '[server]\nurl = "https://stream.example.com"\n'
        '[[dongles]]\nchannel = "no-can0"\nbitrate = 250000\n'
        '[[dongles]]\nchannel = "no-can0"\nid = "again"\n'
        '[[dongles]]\nchannel = "/dev/ttyACM0"\ninterface = "slcan"\nbitrate = 500000\n'
    )
    return path


def test_the_interfaces_are_those_of_the_configuration(config: Path) -> None:
    assert configured(load_agent_config(config)) == {"no-can0": CanSettings("no-can0", bitrate=250_000)}


def test_the_command_says_what_it_cannot_do_and_leaves_the_rest_alone(config: Path) -> None:
    def told(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["set-up-can", "--config", str(config), *words])
        return result.exit_code, result.output

    assert told("--dry-run") == (
        1, "Error: no-can0: there is no such interface: plug it in, or correct `channel`\n",
    )  # fmt: skip
    code, output = told("--dry-run", "can9")
    assert (code, "can9: left alone, no socketcan dongle of" in output) == (0, True)
    assert told("--config", "/no/such/file")[0] == 1
    if os.geteuid() != 0:
        assert not may_administer_network()
        assert "only root can set interfaces up: run `sudo " in told()[1]
