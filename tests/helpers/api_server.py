"""A running server in this process, its clients, and what agents say to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from stream_server.access import credentials, machines
from stream_server.access.roles import Role
from stream_server.app import RunningServer, running_server
from stream_server.config import LimitsSection, ServerConfig, ServerSection
from stream_server.storage import data_directory

API = "/api/v1"
DONGLE: dict[str, Any] = {
    "dongle_id": "van7-can0",
    "interface": "socketcan",
    "channel": "can0",
    "bitrate": 500000,
}
HELLO = {
    "type": "hello",
    "agent_id": "van7",
    "start_id": "0123456789abcdef",
    "boot_id": "boot",
    "monotonic_ns": 1,
    "wall_ns": 2,
    "clock_synchronised": True,
    "version": "1.2.3",
    "dongles": [DONGLE],
}
HEARTBEAT = {"type": "heartbeat", "monotonic_ns": 1, "wall_ns": 2, "clock_synchronised": True}
OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/"),
    ("GET", "/static/{name}"),
    ("POST", f"{API}/auth/link"),
    ("GET", f"{API}/auth/csrf"),
    ("POST", f"{API}/agents/register"),
}


class HasUrl(Protocol):
    """A server, in this process or another."""

    @property
    def url(self) -> str:
        """Where it answers."""


class Api:
    """A client of one server, with the credential it was made with."""

    def __init__(self, server: HasUrl, session: aiohttp.ClientSession, token: str | None) -> None:
        self.server = server
        self.session = session
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    async def ask(
        self, method: str, path: str, body: Any = None, **options: Any
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        headers = self.headers | options.pop("headers", {})
        if "data" not in options:
            options["json"] = body if "body" not in options else options.pop("body")
        url = f"{self.server.url}{path}"
        async with self.session.request(method, url, headers=headers, **options) as response:
            content = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(content) if is_json else content, response

    async def get(self, path: str) -> Any:
        status, body, _ = await self.ask("GET", path)
        assert status == 200, body
        return body

    async def control(self, *subprotocols: str) -> aiohttp.ClientWebSocketResponse:
        return await self._websocket("/ws/agent", subprotocols)

    async def data(self, *subprotocols: str) -> aiohttp.ClientWebSocketResponse:
        return await self._websocket("/ws/data", subprotocols)

    async def relay(self, *subprotocols: str) -> aiohttp.ClientWebSocketResponse:
        return await self._websocket("/ws/relay", subprotocols)

    async def _websocket(self, path: str, subprotocols: tuple[str, ...]) -> aiohttp.ClientWebSocketResponse:
        url = f"{self.server.url}{path}"
        return await self.session.ws_connect(url, headers=self.headers, protocols=subprotocols)

    async def hello(self, *subprotocols: str, **changes: Any) -> aiohttp.ClientWebSocketResponse:
        websocket = await self.control(*subprotocols)
        await websocket.send_json(HELLO | changes)
        welcome = await websocket.receive_json(timeout=10)
        assert welcome["type"] == "welcome"
        return websocket


class Server:
    """One server in this process, and clients of every kind."""

    def __init__(self, running: RunningServer, session: aiohttp.ClientSession) -> None:
        self.running = running
        self.session = session

    @property
    def services(self) -> Any:
        return self.running.services

    def api(self, token: str | None = None) -> Api:
        return Api(self.running, self.session, token)

    async def user(self, role: Role) -> Api:
        now_ns = time.time_ns()
        return self.api(
            await self.services.database.write(
                lambda connection: credentials.create_api_token(connection, role, "", now_ns, "test")
            )
        )

    async def enrolment(self, agent_id: str | None = None, uses: int = 1) -> str:
        now_ns = time.time_ns()
        secret: str = await self.services.database.write(
            lambda connection: machines.create_enrolment(connection, agent_id, uses, now_ns, "test")
        )
        return secret

    async def agent(self, agent_id: str = "van7") -> Api:
        body = {"enrolment_token": await self.enrolment(), "agent_id": agent_id}
        status, answer, _ = await self.api().ask("POST", f"{API}/agents/register", body)
        assert status == 201, answer
        return self.api(answer["agent_token"])


def config(**limits: Any) -> ServerConfig:
    return ServerConfig(server=ServerSection(port=0), limits=LimitsSection(**limits))


@contextlib.asynccontextmanager
async def api_server(place: Path, settings: ServerConfig | None = None) -> AsyncIterator[Server]:
    """One server with its data in `place`, stopped at the end, and a session of its clients."""
    directory = data_directory.prepare(place)
    async with running_server(settings or config(), directory) as running, aiohttp.ClientSession() as session:
        yield Server(running, session)


async def closing(websocket: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str]:
    """The close code and reason, after whatever messages come before."""
    async with asyncio.timeout(10):
        while True:
            message = await websocket.receive()
            if message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}:
                return websocket.close_code, str(message.extra or "")


async def eventually(check: Any) -> Any:
    async with asyncio.timeout(10):
        while not (value := await check()):  # noqa: ASYNC110 -- the server's answer sets no Event here
            await asyncio.sleep(0.01)
        return value


async def listen(viewer: Api, name: str, kind: str = "dongles") -> aiohttp.ClientResponse:
    url = f"{viewer.server.url}{API}/streams/{kind}/{name}/console"
    response = await viewer.session.get(url, headers=viewer.headers)
    assert response.status == 200, await response.text()
    return response


async def next_event(response: aiohttp.ClientResponse, wanted: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        event = ""
        async for line in response.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "data" and event == wanted:
                decoded: dict[str, Any] = json.loads(value)
                return decoded
    raise AssertionError(f"the stream ended before a {wanted} came")
