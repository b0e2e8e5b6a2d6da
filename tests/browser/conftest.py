"""A server, an agent whose dongle it knows, and a browser, each new for every test."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import aiohttp
import pytest
from yarl import URL

from stream_server import clock
from stream_server.access import credentials
from stream_server.app import running_server
from stream_server.groups.memberships import Wanted
from stream_server.storage import data_directory
from tests.helpers.api_server import Server, config, eventually
from tests.helpers.candump_logs import write_log
from tests.helpers.chromium import running_chromium
from tests.helpers.processes import EnrolledAgent, StreamServer, replay_summary
from tests.helpers.relay_agents import greets, listed
from tests.helpers.signal_agent import SignalAgent

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_T = TypeVar("_T")
_ANSWER_SECONDS: Final = 30.0


class ConsoleServer:
    """A server in this process, on a thread of its own, with `agent` connected, whose dongle is van7-can0.

    `sign_in_link` is valid once. Use it as a context manager. `limits` are the server's.
    """

    agent: SignalAgent
    gateway: aiohttp.ClientWebSocketResponse
    url: str
    port: int
    sign_in_link: str
    services: Any
    _server: Server
    _loop: asyncio.AbstractEventLoop
    _stopping: asyncio.Event

    def __init__(self, directory: Path, **limits: Any) -> None:
        self._directory = directory
        self._config = config(**limits)
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        self._opened.result(_ANSWER_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_ANSWER_SECONDS)

    def call(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Runs it where the server and the agent are."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_ANSWER_SECONDS)

    def emit(self, event: str, *payloads: dict[str, Any]) -> None:
        """Puts events on the dongle's console, all of them before any subscriber is written to."""

        async def emit_all() -> None:
            stream = self.services.hub.get("van7-can0")
            for payload in payloads:
                stream.emit(event, {"dongle_id": "van7-can0"} | payload, clock.now())

        self.call(emit_all())

    def make_group(self) -> None:
        """The group `bridge` of can8 and can9, both of van8, which allows the relay all: `gateway`."""

        async def make() -> None:
            dongles = [listed("can8"), listed("can9")]
            self.gateway = await greets(await self._server.agent("van8"), "van8", dongles)
            await self.services.groups.create(Wanted("bridge", "can8", "can9"), "token:1", "")

        self.call(make())

    def emit_to_group(self, event: str, *payloads: dict[str, Any]) -> None:
        """Puts events on the console of `bridge`."""

        async def emit_all() -> None:
            for payload in payloads:
                self.services.hub.group("bridge").emit(event, payload, clock.now())

        self.call(emit_all())

    def wait_for_subscribers(self, number: int) -> None:
        """Until so many follow the dongle's console."""

        async def there() -> bool:
            return bool(self.services.fanout.subscribers == number)

        self.call(eventually(there))

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._opened.done():
                raise
            self._opened.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        directory = data_directory.prepare(self._directory)
        async with running_server(self._config, directory) as running, aiohttp.ClientSession() as session:
            self.services = running.services
            self._server = Server(running, session)
            self.url, self.port = running.url, URL(running.url).port or 0
            link = await running.services.database.write(
                lambda connection: credentials.create_admin_link(connection, time.time_ns(), "test")
            )
            self.sign_in_link = f"{running.url}/#link={link}"
            self.agent = SignalAgent(await self._server.agent())
            await self.agent.hello([])
            await self.agent.open_data()
            self._opened.set_result(None)
            await self._stopping.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StreamServer]:
    with StreamServer(tmp_path / "data") as running:
        yield running


@pytest.fixture
def console_server(tmp_path: Path) -> Iterator[ConsoleServer]:
    with ConsoleServer(tmp_path / "data") as running:
        yield running


@pytest.fixture
def agent(server: StreamServer, tmp_path: Path) -> EnrolledAgent:
    """The agent van7, whose dongle van7-can0 the server has seen one frame of."""
    enrolled = EnrolledAgent(server, "van7", tmp_path)
    with enrolled.replay(write_log(tmp_path / "first.log", 1, 1)) as replay:
        assert replay_summary(replay).acknowledged == 1
    return enrolled


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser
