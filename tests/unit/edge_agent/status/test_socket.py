"""The socket at which an agent says how it stands: who may listen where, who may ask, and what it costs."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge_agent.errors import StatusError
from edge_agent.status.accounting import Books
from edge_agent.status.document import AgentStatus, DongleStatus, encode_status
from edge_agent.status.socket import (
    CLIENT_SECONDS,
    MAX_CLIENTS,
    ask_status,
    candidates,
    running_agents,
    serving_status,
    socket_path,
)

BOOKS = Books(1, 1, 0, 0, {"acknowledged": 1}, "0 lost of 1 frames")
BUSES = [DongleStatus(f"van7-can{n}", "socketcan", f"can{n}", "", 1.0, 0.5, BOOKS) for n in range(64)]
STATUS = AgentStatus(
    "van7", "0.1", "00" * 8, 1, "2026-01-01T00:00:00Z", 1.0, True, "http://localhost", [], BUSES
)


@pytest.fixture
def place() -> Iterator[Path]:
    """Short, as names of sockets must be."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "new" / "status.sock"


async def asked(path: Path) -> AgentStatus:
    return await asyncio.to_thread(ask_status, path)


def leave_a_stale_socket(path: Path) -> None:
    """As an agent does that is killed."""
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()


def leave_a_file(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("mine")


def content_of(path: Path) -> str:
    return path.read_text()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_who_connects_gets_the_status_and_then_the_end(place: Path) -> None:
    async with serving_status(place, lambda: STATUS):
        assert await asked(place) == STATUS
        assert mode_of(place) == 0o660
        assert mode_of(place.parent) == 0o700
    with pytest.raises(StatusError, match="no agent listens at") as refused:
        ask_status(place)
    assert refused.value.code == "NOT_RUNNING"


async def test_the_socket_of_a_killed_agent_is_replaced(place: Path) -> None:
    leave_a_stale_socket(place)
    with pytest.raises(StatusError, match="has ended without a stop"):
        ask_status(place)
    async with serving_status(place, lambda: STATUS):
        assert await asked(place) == STATUS


async def test_a_second_agent_does_without_and_says_so(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving_status(place, lambda: STATUS):
        async with serving_status(place, lambda: replace(STATUS, agent_id="van8")):
            assert "another agent listens at" in caplog.text
            assert await asked(place) == STATUS
        assert await asked(place) == STATUS


async def test_what_is_no_socket_is_left_alone(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    leave_a_file(place)
    async with serving_status(place, lambda: STATUS):
        assert "is no socket" in caplog.text
    assert content_of(place) == "mine"


async def test_a_name_too_long_is_said_with_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / ("x" * 120)
    async with serving_status(path, lambda: STATUS):
        assert "longer than the 107 bytes" in caplog.text
        assert "agent.status_socket" in caplog.text
    with pytest.raises(StatusError, match="longer than"):
        ask_status(path)


async def test_clients_that_do_not_read_cost_a_while_and_nobody_else(place: Path) -> None:
    big = encode_status(STATUS)
    many = replace(STATUS, dongles=BUSES * 60)
    assert len(encode_status(many)) > 10 * len(big)
    async with serving_status(place, lambda: many):
        idle = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CLIENTS)]
        for client in idle:
            client.connect(str(place))
        with pytest.raises(StatusError, match="not an agent's status"):
            await asked(place)
        async with asyncio.timeout(10 * CLIENT_SECONDS):
            while True:
                try:
                    assert await asked(place) == many
                except StatusError:
                    continue
                break
        for client in idle:
            client.close()


async def test_an_end_does_not_wait_for_clients(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        async with serving_status(place, lambda: STATUS), asyncio.timeout(CLIENT_SECONDS):
            client.connect(str(place))
            await asyncio.sleep(0)


def test_where_an_agent_listens() -> None:
    assert socket_path("/run/own.sock", "van7", {}) == Path("/run/own.sock")
    service = {"RUNTIME_DIRECTORY": "/run/edge-agent", "XDG_RUNTIME_DIR": "/run/user/1"}
    assert socket_path(None, "van7", service) == Path("/run/edge-agent/status.sock")
    assert socket_path(None, "van7", {"XDG_RUNTIME_DIR": "/run/user/1"}) == Path(
        "/run/user/1/edge-agent/van7.sock"
    )
    without = socket_path(None, "van7", {"XDG_RUNTIME_DIR": "not/absolute"})
    assert without == Path(tempfile.gettempdir()) / f"edge-agent-{os.geteuid()}" / "van7.sock"


async def test_all_agents_of_a_user_are_found(place: Path) -> None:
    environment = {"XDG_RUNTIME_DIR": str(place.parent)}
    place.parent.mkdir()
    first, second = (socket_path(None, name, environment) for name in ("a", "b"))
    async with serving_status(first, lambda: STATUS):
        leave_a_stale_socket_beside(second)
        found = candidates(environment)
        assert found[-2:] == [first, second]
        told = await asyncio.to_thread(lambda: dict(running_agents(found)))
    assert told[first] == STATUS
    assert isinstance(told[second], StatusError)


def leave_a_stale_socket_beside(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


async def test_a_shared_directory_of_somebody_else_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place.parent.parent))
    theirs = socket_path(None, "van7", {})
    theirs.parent.symlink_to("/")
    async with serving_status(theirs, lambda: STATUS):
        assert "belongs to somebody else" in caplog.text
