"""`replay --to` and `simulate --to` where this machine's agent listens: nothing is sent without --force."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import can
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace
from pytest_mock import MockerFixture

from edge_agent.cli.logs import own_hand
from edge_agent.cli.main import main
from edge_agent.host.inventory import Inventory
from edge_agent.relay.figures import RelayFigures
from edge_agent.status.accounting import Books
from edge_agent.status.document import DongleStatus
from tests.helpers.said_status import agent_at
from tests.helpers.sysfs import SysTree

FILE = """\
[server]
url = "https://stream.example.com"
[agent]
id = "van7"
[[dongles]]
interface = "{interface}"
{place}
mode = "{mode}"
"""


@pytest.fixture(autouse=True)
def _no_other_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture) -> None:
    """Whoever runs these tests may have agents."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    mocker.patch.object(own_hand, "AGENT_CONFIG", tmp_path / "etc.toml")
    mocker.patch("edge_agent.status.socket.SYSTEM_DIRECTORY", tmp_path / "run")
    (tmp_path / "drive.log").write_text("(1766417462.000001) can0 123#11\n")


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Iterator[can.BusABC]:
    with can.Bus(request.node.name, "virtual", ignore_config=True) as bus:
        yield bus


def write(path: Path, place: str, mode: str = "listen_only", interface: str = "virtual") -> Path:
    path.write_text(FILE.format(interface=interface, place=place, mode=mode))
    return path


def replay(tmp_path: Path, target: str, *options: str | Path) -> Result:
    return run("replay", tmp_path / "drive.log", "--to", target, *options)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def channel_of(peer: can.BusABC) -> str:
    return str(peer.channel_info).split()[-1]


@pytest.mark.parametrize("named", [False, True])
def test_a_bus_of_the_file_that_is_for_listening_gets_nothing_but_by_force(
    peer: can.BusABC, tmp_path: Path, *, named: bool
) -> None:
    channel = channel_of(peer)
    path = write(tmp_path / ("mine.toml" if named else "etc.toml"), f'channel = "{channel}"')
    options = ["--config", str(path)] if named else []
    simulated = ["simulate", "--dbc", "demo-vehicle", "--to", f"virtual:{channel}", "--seconds", "0.1"]
    for done in (replay(tmp_path, f"virtual:{channel}", *options), run(*simulated, *options)):
        assert done.exit_code == 1
        for part in (
            str(path),
            "van7-test_a_bus",
            'mode = "listen_only"',
            'Set `mode = "normal"`',
            "--force",
        ):
            assert part.lower() in done.stderr.lower(), done.stderr
        assert done.stdout == ""
    assert peer.recv(0) is None
    for done in (replay(tmp_path, f"virtual:{channel}", *options, "--force"), run(*simulated, "--force")):
        assert done.exit_code == 0, done.output
    assert peer.recv(0) is not None


def test_what_the_file_says_is_normal_or_does_not_name_is_sent_to(peer: can.BusABC, tmp_path: Path) -> None:
    channel = channel_of(peer)
    for place, mode in ((f'channel = "{channel}"', "normal"), ('channel = "another"', "listen_only")):
        write(tmp_path / "etc.toml", place, mode)
        assert replay(tmp_path, f"virtual:{channel}").exit_code == 0
        assert peer.recv(0) is not None


def test_a_stick_is_known_by_its_device_id_and_a_port_by_any_of_its_names(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    tree = SysTree(tmp_path / "sys")
    tree.network("can7", tree.function(tree.stick(serial=b"A1")), flags=0x1)
    mocker.patch.object(own_hand, "Inventory", partial(Inventory, root=tree.root))
    write(tmp_path / "etc.toml", 'device_id = "A1"', interface="socketcan")
    assert "etc.toml has it as van7-a1" in replay(tmp_path, "socketcan:can7").stderr
    (tmp_path / "port").touch()
    (tmp_path / "link").symlink_to(tmp_path / "port")
    write(tmp_path / "etc.toml", f'channel = "{tmp_path / "link"}"\nbitrate = 500000', interface="slcan")
    for name in ("port", "link", "link@115200"):
        assert "nothing is sent to slcan:" in replay(tmp_path, f"slcan:{tmp_path / name}").stderr
    write(tmp_path / "etc.toml", 'device_id = "not-here"', interface="socketcan")
    assert "nothing is sent" not in replay(tmp_path, "socketcan:no-such-can7").stderr


def test_a_file_that_cannot_be_used_stops_it_too(peer: can.BusABC, tmp_path: Path) -> None:
    channel = channel_of(peer)
    (tmp_path / "etc.toml").write_text("[server\n")
    for options, name in (([], "etc.toml"), (["--config", str(tmp_path / "typo.toml")], "typo.toml")):
        done = replay(tmp_path, f"virtual:{channel}", *options)
        assert done.exit_code == 1
        assert name in done.stderr
        assert "mend it, name another with --config, or give --force" in done.stderr
    assert peer.recv(0) is None
    assert replay(tmp_path, f"virtual:{channel}", "--force").exit_code == 0


def test_an_agent_that_cannot_be_asked_stops_it_and_one_that_has_ended_does_not(
    peer: can.BusABC, tmp_path: Path, mocker: MockerFixture
) -> None:
    channel = channel_of(peer)
    mocker.patch("edge_agent.status.socket._CONNECT_SECONDS", 0.1)
    place = Path(os.environ["XDG_RUNTIME_DIR"]) / "edge-agent"
    place.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place / "van7.sock"))
        listening.listen()
        done = replay(tmp_path, f"virtual:{channel}")
        assert done.exit_code == 1
        assert "does not answer" in done.stderr
        assert "or give --force" in done.stderr
        assert peer.recv(0) is None
    assert replay(tmp_path, f"virtual:{channel}").exit_code == 0


def test_both_options_are_for_a_bus(tmp_path: Path) -> None:
    for option in (["--force"], ["--config", str(tmp_path / "etc.toml")]):
        done = run("replay", tmp_path / "drive.log", "--print", *option)
        assert done.exit_code == 2
        assert "are about what --to may send to" in done.stderr


@pytest.mark.parametrize("as_source", [True, False])
def test_a_bus_that_a_running_agent_has_in_an_active_group_gets_nothing_but_by_force(
    peer: can.BusABC, tmp_path: Path, *, as_source: bool
) -> None:
    """What comes from the other side is not mixed with it, nor does it go there."""
    channel = channel_of(peer)
    write(tmp_path / "etc.toml", f'channel = "{channel}"', "normal")
    books = Books(1, 1, 0, 0, {}, "0 lost of 1 frames")
    dongle = DongleStatus("van7-a", "virtual", channel, "", 1.0, 1.0, books, mode="normal", carried=as_source)
    sink = RelayFigures(
        "van7-a", connected=True, message="connected", stop_file="/s",
        source_dongle_id=None if as_source else "van8-a",
    )  # fmt: skip
    simulated = ["simulate", "--dbc", "demo-vehicle", "--to", f"virtual:{channel}", "--seconds", "0.1"]
    place = Path(os.environ["XDG_RUNTIME_DIR"]) / "edge-agent" / "van7.sock"
    place.parent.mkdir()
    with agent_at(place, sink, dongles=[dongle]):
        for done in (replay(tmp_path, f"virtual:{channel}"), run(*simulated)):
            assert done.exit_code == 1
            for part in ("the running agent van7", "van7-a", "in an active group", "deactivated", "--force"):
                assert part in done.stderr
        assert peer.recv(0) is None
        assert replay(tmp_path, f"virtual:{channel}", "--force").exit_code == 0
        assert peer.recv(0) is not None
    idle = replace(sink, source_dongle_id=None)
    with agent_at(place, idle, dongles=[replace(dongle, carried=False)]):
        assert replay(tmp_path, f"virtual:{channel}").exit_code == 0
        assert peer.recv(0) is not None
