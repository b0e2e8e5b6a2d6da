"""What docs/architecture.md says is entered on each way is entered, once and in that order."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from edge_agent.config.loading import load_agent_config
from edge_agent.config.sections import AgentConfig
from edge_agent.spool.directory import FILE_NAME
from edge_agent.state import StatusCode
from edge_agent.status.document import AgentStatus
from edge_agent.status.socket import ask_status
from stream_server.app import running_server
from stream_server.config import ServerConfig, ServerSection
from stream_server.storage import data_directory
from tests.helpers.api_server import API, HELLO, Api, Server, listen
from tests.helpers.clocked_agent import RIGHT_NS, PiClock, running
from tests.helpers.lawicel import LawicelAdapter
from tests.helpers.sse_server import until
from tests.helpers.sse_streams import Event, parse_events
from tests.helpers.ways import PAGE, Entries, read_ways

WAYS: Final = read_ways(PAGE.read_text())
DONGLE: Final = "van7-can0"
FRAME: Final = b"t1234DEADBEEF\r"
SECONDS: Final = 30.0


@pytest.fixture
def entries() -> Iterator[Entries]:
    with Entries() as noted:
        yield noted


@pytest.fixture(autouse=True)
def state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that has seen no id yet."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))


@pytest.fixture
def clock() -> PiClock:
    """Right from the beginning, whatever this machine's is, so that no clock record comes in between."""
    right = PiClock()
    right.set(RIGHT_NS, right=True)
    return right


class Watcher:
    """A subscriber of the dongle's console; `events` has what it was given."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.events: list[Event] = []
        self._content = response.content
        self._unfinished = b""

    async def until(self, count: int, wanted: Callable[[Event], bool]) -> None:
        """It has been given so many events of a kind."""
        async with asyncio.timeout(SECONDS):
            while sum(map(wanted, self.events)) < count:
                received = self._unfinished + await self._content.readany()
                assert received, "the stream has ended"
                end = received.rfind(b"\n\n") + 2 if b"\n\n" in received else 0
                self._unfinished = received[end:]
                self.events += parse_events(received[:end])


@contextlib.asynccontextmanager
async def serving(directory: Path, port: int = 0) -> AsyncIterator[Server]:
    config = ServerConfig(server=ServerSection(port=port))
    prepared = data_directory.prepare(directory)
    async with running_server(config, prepared) as one, aiohttp.ClientSession() as session:
        yield Server(one, session)


async def watch(server: Server) -> Watcher:
    return Watcher(await listen(await server.user("viewer"), DONGLE))


def write_token(agent: Api, directory: Path) -> None:
    token_file = directory / "token"
    token_file.touch(0o600)
    token_file.write_text(agent.headers["Authorization"].removeprefix("Bearer "))


def write_config(directory: Path, adapter: LawicelAdapter, url: str) -> Path:
    path = directory / "agent.toml"
    path.write_text(
        f'[agent]\nid = "van7"\nstatus_socket = "status.sock"\n'
        f'[server]\nurl = "{url}"\ntoken_file = "{directory}/token"\n'
        f'[spool]\ndirectory = "{directory}/spool"\nflush_seconds = 1.0\n'
        f'[[dongles]]\nid = "{DONGLE}"\ninterface = "slcan"\nchannel = "{adapter.path}"\nbitrate = 500_000\n'
    )
    return path


async def configured(directory: Path, adapter: LawicelAdapter, server: Server) -> AgentConfig:
    write_token(await server.agent("van7"), directory)
    return load_agent_config(write_config(directory, adapter, server.running.url))


def is_frame(event: Event) -> bool:
    return event.event == "can_frame"


def is_new_id(event: Event) -> bool:
    return event.event == "log" and event.payload["details"].get("kind") == "NewId"


async def stands(directory: Path, wanted: Callable[[AgentStatus], bool]) -> None:
    """The agent says that it stands so."""
    path = directory / "status.sock"
    async with asyncio.timeout(SECONDS):
        while not path.exists() or not wanted(await asyncio.to_thread(ask_status, path)):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


def all_is_well(status: AgentStatus) -> bool:
    """It reads its bus, has opened its spool, and the server has welcomed it."""
    return all(one.status_code == StatusCode.OK for one in status.services)


def nothing_waits(status: AgentStatus) -> bool:
    """A frame has come, and the server has all there is."""
    hops = status.dongles[0].frames.hops
    return hops["acknowledged"] > 0 == hops["waiting"] == frames_on_disk(status)


def frames_on_disk(status: AgentStatus) -> int:
    return int(status.metric("spool", "frames"))


def test_there_is_a_way_of_each_kind() -> None:
    assert list(WAYS) == ["frame", "ack", "configuration key", "presence change"]


async def test_the_way_of_a_frame(tmp_path: Path, entries: Entries, clock: PiClock) -> None:
    # An adapter that answers is asked again and again how it stands, and its answers are parsed too.
    with LawicelAdapter(mute=True) as adapter:
        async with (
            serving(tmp_path / "server") as server,
            running(await configured(tmp_path, adapter, server), clock),
        ):
            await stands(tmp_path, all_is_well)
            watcher = await watch(server)
            adapter.send(FRAME)
            await watcher.until(1, is_frame)
            await watcher.until(1, is_new_id)  # else what is said of it goes the last stops too
            entries.begin()
            adapter.send(FRAME)
            await watcher.until(2, is_frame)
            assert entries.of(WAYS["frame"]) == WAYS["frame"]


async def test_the_way_of_an_ack(tmp_path: Path, entries: Entries, clock: PiClock) -> None:
    with LawicelAdapter() as adapter:
        async with contextlib.AsyncExitStack() as at_the_end:
            async with serving(tmp_path / "server") as server:
                port = int(server.running.url.rpartition(":")[2])
                config = await configured(tmp_path, adapter, server)
                await at_the_end.enter_async_context(running(config, clock))
                await stands(tmp_path, all_is_well)
                adapter.send(FRAME)
                await stands(tmp_path, nothing_waits)
            adapter.send(FRAME)
            await stands(tmp_path, lambda status: frames_on_disk(status) == 1)
            entries.begin()
            async with serving(tmp_path / "server", port):
                await until(lambda: WAYS["ack"][-1] in entries.of(WAYS["ack"]), SECONDS)
                await at_the_end.aclose()
    assert entries.of(WAYS["ack"]) == WAYS["ack"]
    with contextlib.closing(sqlite3.connect(tmp_path / "spool" / FILE_NAME)) as file:
        assert file.execute("SELECT count(*) FROM packets").fetchone() == (0,)


async def test_the_way_of_a_configuration_key(tmp_path: Path, entries: Entries, clock: PiClock) -> None:
    (tmp_path / "token").touch(0o600)
    (tmp_path / "token").write_text("none")
    with LawicelAdapter() as adapter:
        path = write_config(tmp_path, adapter, "http://127.0.0.1:9")
        entries.begin()
        async with running(load_agent_config(path), clock):
            assert await asyncio.to_thread(adapter.opened.wait, SECONDS)
            assert entries.of(WAYS["configuration key"]) == WAYS["configuration key"]
    assert "S6" in adapter.commands, "500 kbit/s in the adapter's words"


async def test_the_way_of_a_presence_change(tmp_path: Path, entries: Entries) -> None:
    async with serving(tmp_path) as server:
        agent = await server.agent("van7")
        write_token(agent, tmp_path)
        await agent.ask("POST", f"{API}/agents/devices/report", {"dongles": HELLO["dongles"]})
    # After a restart nobody is there until seen.
    async with serving(tmp_path) as server:
        agent = server.api((tmp_path / "token").read_text())
        watcher = await watch(server)
        await watcher.until(1, lambda event: event.event == "presence" and not event.payload["online"])
        entries.begin()
        control = await agent.control()
        await watcher.until(1, lambda event: event.event == "presence" and event.payload["online"])
        assert entries.of(WAYS["presence change"]) == WAYS["presence change"]
        await control.close()
