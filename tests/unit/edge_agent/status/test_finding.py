"""Which running agent a command means, and what it says where that is none or cannot be known."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from pytest_mock import MockerFixture

from can_stream.strict_config import ConfigError
from edge_agent.errors import StatusError
from edge_agent.status import socket as status_socket
from edge_agent.status.document import AgentStatus
from edge_agent.status.finding import find_status, how_to_start
from edge_agent.status.socket import serving_status

STATUS = AgentStatus("van7", "0.1", "00" * 8, 1, "2026-01-01T00:00:00Z", 1.0, True, "http://x", [], [])


@pytest.fixture
def home(mocker: MockerFixture) -> Iterator[Path]:
    """Short, as names of sockets must be; no service of this machine is beside it."""
    with tempfile.TemporaryDirectory() as directory:
        mocker.patch.object(status_socket, "SYSTEM_DIRECTORY", Path(directory) / "run")
        yield Path(directory)


def environment(home: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(home)}


def listens_at(home: Path, agent_id: str) -> Path:
    return home / "edge-agent" / f"{agent_id}.sock"


@asynccontextmanager
async def agents(home: Path, *agent_ids: str) -> AsyncIterator[None]:
    """They run here."""
    async with AsyncExitStack() as serving:
        for agent_id in agent_ids:
            status = replace(STATUS, agent_id=agent_id)
            await serving.enter_async_context(
                serving_status(listens_at(home, agent_id), lambda status=status: status)  # type: ignore[misc]
            )
        yield


def config_of(home: Path, agent_id: str, more: str = "") -> Path:
    path = home / f"{agent_id}.toml"
    rest = '[server]\nurl = "http://localhost"\n[[dongles]]\nchannel = "can0"\n'
    path.write_text(f'[agent]\nid = "{agent_id}"\n{more}\n{rest}')
    return path


async def found(home: Path, config: Path | None = None, at: Path | None = None) -> AgentStatus:
    return await asyncio.to_thread(find_status, config, at, environment(home))


async def refusal(home: Path, config: Path | None = None, at: Path | None = None) -> StatusError:
    with pytest.raises(StatusError) as refused:
        await found(home, config, at)
    return refused.value


async def test_the_only_agent_here_is_meant(home: Path) -> None:
    async with agents(home, "van7"):
        assert (await found(home)).agent_id == "van7"


async def test_of_several_one_has_to_be_named(home: Path) -> None:
    async with agents(home, "van7", "van8"):
        error = await refusal(home)
        assert error.code == "SEVERAL"
        assert str(error) == (
            "2 agents run here: say which one:"
            f"\n  --socket {listens_at(home, 'van7')}   agent van7"
            f"\n  --socket {listens_at(home, 'van8')}   agent van8"
        )
        assert (await found(home, at=listens_at(home, "van8"))).agent_id == "van8"
        assert (await found(home, config_of(home, "van8"))).agent_id == "van8"


async def test_an_agent_that_was_killed_is_not_counted(home: Path) -> None:
    async with agents(home, "van7"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(listens_at(home, "van6")))
        assert (await found(home)).agent_id == "van7"


async def test_a_socket_that_is_named_is_the_only_one_asked(home: Path) -> None:
    async with agents(home, "van7"):
        error = await refusal(home, at=home / "other.sock")
    assert error.code == "NOT_RUNNING"
    assert str(error).startswith(
        f"no agent runs here (no agent listens at {home / 'other.sock'}): {how_to_start()}"
    )


async def test_a_configuration_names_its_agent_wherever_it_listens(home: Path) -> None:
    async with serving_status(listens_at(home, "service"), lambda: STATUS):
        assert (await found(home, config_of(home, "van7"))).agent_id == "van7"
        error = await refusal(home, config_of(home, "van9"))
    assert error.code == "NOT_RUNNING"
    assert "no agent van9 runs here (no agent listens at" in str(error)


async def test_a_configured_socket_is_asked_whoever_listens_there(home: Path) -> None:
    path = home / "mine" / "s.sock"
    async with serving_status(path, lambda: STATUS):
        config = config_of(home, "van9", f'status_socket = "{path}"')
        assert (await found(home, config)).agent_id == "van7"


async def test_an_unusable_configuration_is_said_and_nobody_asked(home: Path) -> None:
    path = home / "bad.toml"
    path.write_text("[server]\n")
    async with agents(home, "van7"):
        with pytest.raises(ConfigError, match=r"server\.url"):
            await found(home, path)


async def test_where_no_agent_ever_ran_it_says_how_to_start_one(home: Path) -> None:
    error = await refusal(home)
    assert error.code == "NOT_RUNNING"
    assert str(error) == f"no agent runs here: {how_to_start()}; `edge-agent doctor` says what may be wrong"


async def test_one_that_answers_nonsense_says_more_than_those_that_are_not_there(home: Path) -> None:
    listens_at(home, "x").parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(listens_at(home, "gone")))
    server = await asyncio.start_unix_server(_nonsense, listens_at(home, "odd"))
    async with server:
        error = await refusal(home)
    assert error.code == "BAD_ANSWER"
    assert "is not an agent's status" in str(error)


async def _nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.com ESMTP\n")
    writer.close()
