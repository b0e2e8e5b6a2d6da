"""A request for a console stream, over a real aiohttp server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.helpers.sse_server import PATH, Running, StartServer, raw_client, read_events, sse_servers, until
from tests.helpers.sse_streams import Event, parse_events


@pytest.fixture
async def start_server() -> AsyncIterator[StartServer]:
    async with sse_servers() as start:
        yield start


async def first_events(server: Running, count: int, query: str = "", header: str = "") -> list[Event]:
    headers = {"Last-Event-ID": header} if header else {}
    async with (
        aiohttp.ClientSession() as session,
        session.get(server.url + query, headers=headers) as response,
    ):
        return await read_events(response.content, lambda events: len(events) >= count)


async def test_a_client_of_http_1_0_gets_the_stream_without_chunks(start_server: StartServer) -> None:
    server = await start_server()
    client = await raw_client(server.port, f"GET {PATH} HTTP/1.0\r\nHost: x\r\n\r\n")
    await until(lambda: server.fanout.subscribers == 1)
    event_id = server.emit(7)
    body = b""
    async with asyncio.timeout(20):
        while b'"number":7' not in body or not body.endswith(b"\n\n"):
            body += await asyncio.get_running_loop().sock_recv(client, 65536)
    client.close()
    head, _, stream = body.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200")
    assert b"chunked" not in head.lower()
    assert stream.startswith(b"retry: "), "no length of a chunk before it"
    assert [event.event_id for event in parse_events(stream)] == [None, event_id]


async def test_the_place_to_resume_from_may_be_in_the_query_and_the_header_wins(
    start_server: StartServer,
) -> None:
    server = await start_server()
    ids = [server.emit(number) for number in range(4)]
    found = await first_events(server, 3, f"?last_event_id={ids[0]}")
    assert [event.event_id for event in found] == ids[1:]
    found = await first_events(server, 1, f"?last_event_id={ids[0]}", header=f" {ids[2]} ")
    assert [event.event_id for event in found] == ids[3:]
    (reset, _) = await first_events(server, 2, header="latest")
    assert (reset.event, reset.payload["requested_id"]) == ("stream_reset", None)


async def test_history_begins_so_long_ago(start_server: StartServer) -> None:
    server = await start_server()
    event_id = server.emit(1)
    assert [one.event_id for one in await first_events(server, 2, "?history=30")] == [event_id, None]
    assert [one.event_id for one in await first_events(server, 1)] == [None]


async def test_who_only_asks_for_the_head_is_no_subscriber(start_server: StartServer) -> None:
    server = await start_server()
    async with aiohttp.ClientSession() as session, session.head(server.url) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert server.fanout.subscribers == 0
    assert not server.stream.watched
