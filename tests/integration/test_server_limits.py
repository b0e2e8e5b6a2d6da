"""Who holds on to connections and bodies is refused or ended in time, and honest ones notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import socket
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web

from stream_server.app import create_app, running_services
from stream_server.config import ServerConfig
from stream_server.http.api import API_PREFIX, Call, Route
from stream_server.http.site import GuardedRunner
from stream_server.storage import data_directory
from tests.helpers import conditions
from tests.helpers.api_server import API, HEARTBEAT, HasUrl, Server, api_server, config, eventually
from tests.helpers.processes import StreamServer

REGISTER: Final = f"{API}/agents/register"
HEARTBEATS: Final = f"{API}/agents/heartbeat"


class Raw:
    """A client that sends bytes as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Status, header fields and JSON body; the server must close then."""
        async with asyncio.timeout(10):
            content = await self.reader.read()
        head, _, body = content.partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        named = dict(field.lower().split(": ", 1) for field in fields)
        return int(first.split()[1]), named, json.loads(body)

    async def ended(self) -> bool:
        """It is closed without an answer."""
        async with asyncio.timeout(10):
            try:
                return not await self.reader.read()
            except ConnectionError:
                return True

    def is_open(self) -> bool:
        return not self.reader.at_eof() and self.reader.exception() is None


@contextlib.asynccontextmanager
async def raw(server: HasUrl, content: bytes, times: int = 1) -> AsyncIterator[list[Raw]]:
    port = int(server.url.rpartition(":")[2])
    clients = [Raw(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(times)]
    try:
        for client in clients:
            client.writer.write(content)
        yield clients
    finally:
        for client in clients:
            client.writer.close()


def post(path: str, length: int | None, *fields: str) -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: x", size, *fields, "", "")).encode()


async def test_compressed_bodies_are_refused_and_never_inflated(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(10)) + packer.flush()
    async with api_server(tmp_path) as server:
        for path, expected in ((REGISTER, 415), ("/nothing", 404), ("/healthz", 405)):
            content = post(path, len(bomb) + 1, "Content-Encoding: gzip") + bomb
            async with raw(server.running, content) as [client]:
                status, fields, body = await client.answer()
            assert (status, fields["connection"]) == (expected, "close"), body
        plain = {"Content-Encoding": "identity"}
        agent = await server.agent()
        assert (await agent.ask("POST", HEARTBEATS, HEARTBEAT, headers=plain))[0] == 200


async def test_no_body_is_waited_for_that_is_not_wanted(tmp_path: Path) -> None:
    async with api_server(tmp_path) as server:
        agent, viewer = await server.agent(), await server.user("viewer")
        void = "Authorization: Bearer cea_agent_void"
        other = f"Authorization: {viewer.headers['Authorization']}"
        cases = [
            (post("/nothing", 200_000), 404),
            (post(f"{API}/agents", 200_000), 405),
            (post(HEARTBEATS, 200_000), 401),
            (post(HEARTBEATS, 200_000, void), 401),
            (post(HEARTBEATS, 200_000, other), 403),
            (post(REGISTER, 20_000), 413),
            (post(HEARTBEATS, 300_000, f"Authorization: {agent.headers['Authorization']}"), 413),
            (post(REGISTER, None) + b"4000\r\n" + b" " * 0x4000 + b"\r\n2\r\n ", 413),
        ]
        for content, expected in cases:
            async with raw(server.running, content + b"{") as [client]:
                status, fields, body = await client.answer()
            assert (status, fields["connection"]) == (expected, "close"), body
        long = json.dumps(HEARTBEAT).encode() + b" " * 200_000
        assert (await agent.ask("POST", HEARTBEATS, data=long))[0] == 200


async def test_heads_and_bodies_have_to_be_there_in_time(tmp_path: Path) -> None:
    async with api_server(tmp_path, config(head_seconds=0.2, body_seconds=0.2, idle_seconds=0.5)) as server:
        agent = await server.agent()
        websocket = await agent.hello()
        async with (
            raw(server.running, b"") as [silent],
            raw(server.running, b"GET /healthz HTTP/1.1\r\nX-A: ") as [trickling],
            raw(server.running, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /") as [idle],
            raw(server.running, post(REGISTER, 1_000) + b"{") as [slow],
        ):
            status, _, body = await slow.answer()
            assert (status, body["code"]) == (408, "REQUEST_TIMEOUT")
            assert await silent.ended()
            assert await trickling.ended()
            async with asyncio.timeout(10):
                assert (await idle.reader.read()).startswith(b"HTTP/1.1 200")
        await websocket.send_json(HEARTBEAT)
        assert (await agent.ask("POST", HEARTBEATS, HEARTBEAT))[0] == 200
        assert not websocket.closed


async def test_a_full_table_ends_the_oldest_strangers_and_nobody_who_is_known(tmp_path: Path) -> None:
    async with api_server(tmp_path, config(connections=8, connections_per_address=4)) as server:
        agent = await server.agent()
        websocket = await agent.hello()
        async with raw(server.running, b"", 20) as strangers:

            async def displaced() -> bool:
                return sum(client.is_open() for client in strangers) <= 4

            await eventually(displaced)
            assert (await agent.ask("POST", HEARTBEATS, HEARTBEAT))[0] == 200
            async with aiohttp.ClientSession() as newcomer:
                newer = Server(server.running, newcomer).api(agent.headers["Authorization"].split()[1])
                assert (await newer.ask("POST", HEARTBEATS, HEARTBEAT))[0] == 200
            await websocket.send_json(HEARTBEAT)
            assert not websocket.closed
        assert 'connections_ended_total{reason="displaced"}' in server.services.metrics.exposition().decode()


async def test_a_credential_has_so_many_connections_and_others_have_theirs(tmp_path: Path) -> None:
    settings = config(connections_per_credential=2, streams_per_credential=1)
    async with api_server(tmp_path, settings) as server:
        greedy, other = await server.user("viewer"), await server.user("viewer")
        authorization = f"Authorization: {greedy.headers['Authorization']}"
        asking = f"GET {API}/dongles HTTP/1.1\r\nHost: x\r\n{authorization}\r\n\r\n"
        async with raw(server.running, asking.encode(), 2) as clients:
            for client in clients:
                assert b" 200 " in await client.reader.readline()
            async with raw(
                server.running, asking.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode()
            ) as [third]:
                status, _, body = await third.answer()
            assert (status, body["code"]) == (429, "TOO_MANY_CONNECTIONS")
            assert await other.get(f"{API}/dongles") == {"dongles": []}


async def test_bodies_that_never_end_hold_no_more_than_their_bound(tmp_path: Path) -> None:
    async with api_server(tmp_path, config(body_bytes=1_048_576)) as server:
        agent, evil = await server.agent(), await server.agent("evil")
        authorization = f"Authorization: {evil.headers['Authorization']}"
        content = post(HEARTBEATS, 200_000, authorization) + b" " * 199_999
        async with raw(server.running, content, 10), raw(server.running, post(REGISTER, 16_000) + b" ", 30):
            bodies = server.services.front.bodies

            async def reading() -> bool:
                return len(bodies) > 10

            await eventually(reading)
            assert bodies.held <= 1_048_576
            long = json.dumps(HEARTBEAT).encode() + b" " * 200_000
            assert (await agent.ask("POST", HEARTBEATS, data=long))[0] == 200

        async def released() -> bool:
            return not bodies.held

        await eventually(released)


async def test_an_answer_that_had_begun_is_not_taken_for_the_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_halfway(call: Call) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(call.request)
        await response.write(b"half")
        if call.path("what") == "half":
            raise ValueError("the rest is lost")
        await response.write_eof()
        return response

    route = Route("GET", f"{API_PREFIX}/{{what}}", "open", fail_halfway, "", response_type="text/plain")
    directory = data_directory.prepare(tmp_path)
    async with running_services(ServerConfig(), directory, asyncio.Event()) as services:
        runner = GuardedRunner(create_app(services, [route]), services.front, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{API_PREFIX}"
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await (await session.get(f"{url}/half")).read()
            assert await (await session.get(f"{url}/whole")).read() == b"half"
        await runner.cleanup()
    assert caplog.text.count("ValueError: the rest is lost") == 1


def test_a_crowd_that_comes_at_once_waits_instead_of_trying_again(tmp_path: Path) -> None:
    with StreamServer(tmp_path / "data") as server, contextlib.ExitStack() as crowd:
        server.process.signal(signal.SIGSTOP)
        # A queue that is full answers nobody, and TCP asks again after a second.
        for _ in range(600):
            crowd.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=0.5))
        server.process.signal(signal.SIGCONT)
        assert server.read_json("/api/v1/dongles", server.create_token()) == {"dongles": []}


def test_without_a_descriptor_for_them_they_wait(tmp_path: Path) -> None:
    with StreamServer(tmp_path / "data") as server:
        soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (4, hard))
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            conditions.eventually(
                lambda: "nobody can be let in" in server.process.errors, "the server says what it lacks"
            )
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
            assert client.recv(1_000).startswith(b"HTTP/1.1 200")
