"""The event stream read by clients that are not ours: curl, aiohttp-sse-client, and through nginx."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import which

import aiohttp
import pytest
from aiohttp_sse_client import client as sse_client

from stream_server import clock
from tests.helpers.lanes import require_lane
from tests.helpers.nginx import Nginx, require_nginx
from tests.helpers.sse_server import (
    PATH,
    StartServer,
    read_events,
    sse_servers,
    until,
)
from tests.helpers.sse_streams import CAN0, frames, parse_events


@pytest.fixture
async def start_server() -> AsyncIterator[StartServer]:
    async with sse_servers() as start:
        yield start


async def test_curl_reads_a_stream(start_server: StartServer) -> None:
    require_lane("integration", which("curl") is not None, "curl is missing: apt install curl")
    server = await start_server()
    process = await asyncio.create_subprocess_exec(
        "curl", "-sN", server.url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await until(lambda: server.fanout.subscribers == 1)
    server.stream.offer_body(frames([0x7E8, 0x123]), CAN0, clock.now().seconds)
    data = b""
    while data.count(b"event: can_frame") < 2 or not data.endswith(b"\n\n"):
        data += await asyncio.wait_for(process.stdout.read(4096), 20)
    shown = [event for event in parse_events(data) if event.event == "can_frame"]
    assert [event.payload["id"] for event in shown] == ["0x7E8", "0x123"]
    process.terminate()
    await process.wait()
    await until(lambda: server.fanout.subscribers == 0)


async def test_curl_over_http_1_0_gets_the_events_without_chunks(start_server: StartServer) -> None:
    require_lane("integration", which("curl") is not None, "curl is missing: apt install curl")
    server = await start_server()
    process = await asyncio.create_subprocess_exec(
        "curl", "-sN", "--http1.0", server.url, stdout=asyncio.subprocess.PIPE
    )
    await until(lambda: server.fanout.subscribers == 1)
    event_id = server.emit(1)
    await asyncio.sleep(0)
    await server.fanout.close()
    body, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0
    assert parse_events(body)[-1].event_id == event_id


async def test_an_event_source_client_resumes_where_it_was_cut(start_server: StartServer) -> None:
    server = await start_server()
    numbers: list[int] = []
    source = sse_client.EventSource(server.url)
    async with source:
        await until(lambda: server.fanout.subscribers == 1)
        for number in range(50):
            server.emit(number)
        async for event in source:
            if event.type == "log":
                numbers.append(json.loads(event.data)["number"])
                last = event.last_event_id
            if len(numbers) == 20:
                break
    await until(lambda: server.fanout.subscribers == 0)
    server.emit(50)
    async with sse_client.EventSource(server.url, headers={"Last-Event-ID": last}) as source:
        async for event in source:
            assert event.type == "log"
            numbers.append(json.loads(event.data)["number"])
            if numbers[-1] == 50:
                break
    assert numbers == list(range(51))


async def test_the_header_wins_over_the_query(start_server: StartServer) -> None:
    server = await start_server()
    first, second = server.emit(1), server.emit(2)
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            server.url, params={"last_event_id": "nonsense"}, headers={"Last-Event-ID": str(first)}
        ) as response,
    ):
        events = await read_events(response.content, bool)
        assert [event.event_id for event in events] == [second]


@pytest.mark.parametrize(
    "extra", ["proxy_http_version 1.0;", 'proxy_http_version 1.1; proxy_set_header Connection "";']
)
async def test_events_pass_nginx_at_once_as_the_docs_say(
    start_server: StartServer, tmp_path: Path, extra: str
) -> None:
    require_nginx("integration")
    server = await start_server()
    with Nginx(tmp_path, server.port, extra) as front:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{front.url}{PATH}") as response,
        ):
            await read_events(response.content, lambda events: len(events) == 1)
            for number in range(3):  # each is waited for: a proxy that buffers would keep it
                server.emit(number)
                (event,) = await read_events(response.content, bool)
                assert event.payload["number"] == number
        await until(lambda: server.fanout.subscribers == 0)
