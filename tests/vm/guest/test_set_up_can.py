"""`edge-agent set-up-can`, by hand and as the service of each interface that appears."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.host.can_link import CanLink, read_can_link
from tests.helpers.conditions import eventually
from tests.helpers.processes import installed_command, run_command
from tests.vm.kernel_slcan import KernelSlcan

CONFIG = Path("/etc/edge-agent/agent.toml")
NEW, OTHER = "can-new", "vcan9"


def dongle(channel: str, *lines: str) -> str:
    return "\n".join(["[[dongles]]", f'channel = "{channel}"', *lines, ""])


def configure(*dongles: str) -> None:
    CONFIG.write_text("\n".join(['[server]\nurl = "http://127.0.0.1:8080"', *dongles]))


def set_up(*words: str) -> tuple[int, str]:
    """The exit status, and what was said."""
    command = [*map(str, installed_command("edge-agent")), "set-up-can", *words]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def link(channel: str) -> CanLink:
    found = read_can_link(channel)
    assert found is not None
    return found


@pytest.fixture(scope="module", autouse=True)
def bare() -> Iterator[None]:
    """A machine without our rules and units: nothing but the tests sets interfaces up."""
    run_command([*installed_command("edge-agent"), "uninstall", "--system"])
    CONFIG.parent.mkdir(exist_ok=True)
    yield
    run_command([*installed_command("edge-agent"), "uninstall", "--system"])
    CONFIG.unlink()


@pytest.fixture
def installed() -> None:
    run_command([*installed_command("edge-agent"), "install", "--system"])


@pytest.fixture
def adapter() -> Iterator[KernelSlcan]:
    with KernelSlcan() as made:
        yield made


@pytest.fixture
def interfaces() -> Iterator[None]:
    """None of these is there before or after."""
    yield
    for name in (NEW, OTHER):
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


def test_a_controller_gets_the_settings_of_the_configuration_once(adapter: KernelSlcan) -> None:
    name = adapter.name
    configure(dongle(name, "bitrate = 250000", "tx_queue_length = 100"))
    code, told = set_up("--dry-run")
    assert (code, told.splitlines()[0]) == (
        0, f"{name}: bitrate unset -> 250000, listen_only off -> on, tx_queue_length 10 -> 100, down -> up",
    )  # fmt: skip
    assert not link(name).is_up
    code, told = set_up(name)
    assert code == 0, told
    assert f"  ip link set {name} type can bitrate 250000 listen-only on\n" in told
    now = link(name)
    assert (now.is_up, now.bitrate, now.listen_only, now.tx_queue_length) == (True, 250_000, True, 100)
    assert set_up() == (0, f"{name}: is set up and up, nothing is changed\n")
    assert adapter.commands.endswith(b"S5\rL\r")


def test_a_driver_that_cannot_restart_is_set_up_all_the_same(adapter: KernelSlcan) -> None:
    configure(dongle(adapter.name, "bitrate = 500000", 'mode = "normal"'))
    code, told = set_up()
    assert code == 0, told
    assert "`restart_seconds` has no effect: " in told
    assert (link(adapter.name).is_up, link(adapter.name).listen_only) == (True, False)


def test_what_the_driver_refuses_is_told_and_leaves_the_interface_down(adapter: KernelSlcan) -> None:
    configure(dongle(adapter.name, "bitrate = 123000"), dongle("can-missing", "bitrate = 500000"))
    code, told = set_up()
    assert code == 1
    assert f"Error: {adapter.name}: `ip link set {adapter.name} type can bitrate 123000" in told
    assert "Error: can-missing: there is no such interface" in told
    assert not link(adapter.name).is_up


def test_without_root_it_says_so(adapter: KernelSlcan) -> None:
    configure(dongle(adapter.name, "bitrate = 250000"))
    command = [
        "setpriv",
        "--reuid=65534",
        "--clear-groups",
        *map(str, installed_command("edge-agent")),
        "set-up-can",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "only root can set interfaces up: run `sudo " in done.stderr
    assert not link(adapter.name).is_up


def test_an_interface_that_appears_is_set_up_by_its_service(installed: None, interfaces: None) -> None:
    configure(dongle(NEW))
    for name in (OTHER, NEW):
        subprocess.run(["ip", "link", "add", name, "type", "vcan"], check=True)
    eventually(lambda: link(NEW).is_up, f"{NEW} is up")
    unit = run_command(["systemd-escape", "--template=edge-agent-can@.service", OTHER]).strip()
    run_command(["systemctl", "start", unit])
    assert not link(OTHER).is_up
    journal = run_command(["journalctl", "--no-pager", "-o", "cat", "-u", unit])
    assert f"{OTHER}: left alone, no socketcan dongle of {CONFIG} has this channel" in journal


def test_the_service_sets_an_interface_up_within_its_sandbox(installed: None, adapter: KernelSlcan) -> None:
    configure(dongle(adapter.name, "bitrate = 250000", "tx_queue_length = 50"))
    unit = f"edge-agent-can@{adapter.name}.service"
    run_command(["systemctl", "restart", unit])
    assert run_command(["systemctl", "show", "--value", "-p", "Result", unit]).strip() == "success"
    now = link(adapter.name)
    assert (now.is_up, now.bitrate, now.listen_only, now.tx_queue_length) == (True, 250_000, True, 50)
    report = run_command(["systemd-analyze", "security", "--no-pager", unit])
    level = float(report.rpartition("exposure level for")[2].split(":")[1].split()[0])
    assert level <= 1.5, report
    done = subprocess.run(["systemd-analyze", "verify", unit], check=True, capture_output=True, text=True)
    assert [line for line in done.stderr.splitlines() if unit in line] == []
