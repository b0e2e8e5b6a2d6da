"""The helper answers one request after the other, and does no more than the agent's file lets it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge_agent.errors import HelperError, LinkError
from edge_agent.helper import serving
from edge_agent.helper.asking import empty_queue, is_reachable
from edge_agent.helper.rules import PAUSE_SECONDS
from edge_agent.helper.serving import Helper, Machine, inherited_socket, is_from_agent, serve
from edge_agent.helper.words import MAX_LINE_BYTES, Answer, Request, decode_answer
from edge_agent.host.can_link import CanLink, InterfaceCounters

# Root's own, on every machine; what it says is a matter of the stand-in.
FILE = Path("/proc/version")
LINK = CanLink(
    "can0", 7, "can", True, True, 16, 10, False, InterfaceCounters(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
)


class World:
    """A machine with can0, which the file names."""

    def __init__(self) -> None:
        self.link: CanLink | None = LINK
        self.restarted: list[int] = []
        self.fails = False
        self.now_seconds = 100.0
        machine = Machine(lambda _: {"can0"}, lambda _: self.link, self._restart, lambda: self.now_seconds)
        self.helper = Helper(FILE, machine)

    def ask(self, channel: str = "can0") -> Answer:
        return self.helper.answer(Request("empty_queue", channel))

    def _restart(self, index: int) -> None:
        self.restarted.append(index)
        if self.fails:
            raise LinkError("ENODEV: gone")


def test_an_interface_of_the_file_is_taken_down_and_up_at_most_once_in_a_while() -> None:
    world = World()
    assert world.ask() == Answer()
    world.now_seconds += 1
    refused = world.ask()
    assert (refused.refused, refused.wait_seconds) == ("too_soon", PAUSE_SECONDS - 1)
    assert world.restarted == [7]
    world.now_seconds += refused.wait_seconds
    assert world.ask() == Answer()
    assert world.restarted == [7, 7]


def test_no_other_interface_is() -> None:
    world = World()
    assert world.ask("eth0").refused == "interface"
    assert world.restarted == []
    assert world.ask() == Answer()


@pytest.mark.parametrize("link", [None, replace(LINK, is_up=False)])
def test_what_somebody_has_taken_down_stays_down(link: CanLink | None) -> None:
    world = World()
    world.link = link
    assert world.ask().refused == "down"
    world.link = LINK
    assert world.ask() == Answer()
    assert world.restarted == [7]


def test_an_interface_that_does_not_come_up_is_said_and_left_alone_for_a_while() -> None:
    world = World()
    world.fails = True
    assert world.ask() == Answer("failed", "can0: ENODEV: gone")
    assert world.ask().refused == "too_soon"


def test_a_file_that_is_not_roots_alone_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.touch()
    path.chmod(0o666)
    world = World()
    for place in (path, tmp_path / "missing"):
        helper = Helper(place, Machine(lambda _: {"can0"}, lambda _: LINK, world.restarted.append))
        assert helper.answer(Request("empty_queue", "can0")).refused == "config"
    assert world.restarted == []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, World]]:
    """The socket of a helper that runs, and welcomes everybody."""
    monkeypatch.setattr(serving, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(serving, "_REQUEST_SECONDS", 0.2)
    world, path = World(), tmp_path / "helper.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(8)
        thread = threading.Thread(target=serve, args=(listening, world.helper, lambda _: True))
        thread.start()
        yield path, world
        thread.join()  # it ends by itself


async def test_the_agent_asks_over_its_socket(place: tuple[Path, World]) -> None:
    path, world = place
    assert is_reachable(path)
    assert await empty_queue("can0", path) == Answer()
    assert (await empty_queue("can0", path)).refused == "too_soon"
    assert world.restarted == [7]


async def test_whoever_says_nothing_or_nonsense_delays_the_agent_for_a_moment_only(
    place: tuple[Path, World],
) -> None:
    path, world = place
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as long:
        silent.connect(str(path))
        long.connect(str(path))
        long.sendall(b"x" * (MAX_LINE_BYTES + 1))
        assert await empty_queue("can0", path) == Answer()
        assert decode_answer(long.recv(MAX_LINE_BYTES)).refused == "request"
        assert silent.recv(1) == b""
    assert world.restarted == [7]


def test_strangers_are_refused_before_anything_is_read() -> None:
    world = World()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b'{"request":"empty_queue","channel":"can0"}\n')
        assert not is_from_agent(ours), "these tests are not the agent's service"
        assert serving._answer_to(ours, world.helper, is_from_agent).refused == "peer"
        assert serving._answer_to(ours, world.helper, lambda _: True) == Answer()
    assert world.restarted == [7]


def test_without_systemd_it_says_how_it_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)
    with pytest.raises(HelperError, match="systemctl start edge-agent-helper"):
        inherited_socket()
