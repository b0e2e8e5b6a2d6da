"""The fan-out behind a real aiohttp server: slow clients, many clients, clients that go."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bench.sse_fanout import STALLED, measure
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import encode_frames
from stream_server import clock
from stream_server.sse.fanout import FanOutSettings
from stream_server.streams.console import StreamLimits
from stream_server.streams.ring import RingLimits
from tests.helpers.memory import resident
from tests.helpers.sse_server import (
    PADDING,
    PATH,
    StartServer,
    raw_client,
    read_events,
    sse_servers,
    until,
)
from tests.helpers.sse_streams import CAN0, counted, frames, parse_events


@pytest.fixture
async def start_server() -> AsyncIterator[StartServer]:
    async with sse_servers() as start:
        yield start


async def test_headers_retry_and_state_come_at_once(start_server: StartServer) -> None:
    server = await start_server()
    async with aiohttp.ClientSession() as session, session.get(server.url) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Accel-Buffering"] == "no"
        first = await response.content.readline()
        assert 1500 <= int(first.removeprefix(b"retry: ")) <= 2500
        (state,) = await read_events(response.content, lambda events: len(events) == 1)
        assert (state.event, state.event_id) == ("presence", None)


async def test_bad_requests_are_answered_as_json(start_server: StartServer) -> None:
    server = await start_server()
    async with aiohttp.ClientSession() as session:
        async with session.get(server.url, headers={"Accept": "application/json"}) as response:
            assert (response.status, (await response.json())["code"]) == (406, "NOT_ACCEPTABLE")
        async with session.get(server.url, params={"history": "nan"}) as response:
            assert (response.status, (await response.json())["details"]["field"]) == (400, "history")
        async with session.head(server.url) as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
    assert server.fanout.subscribers == 0


async def test_a_client_that_never_reads_costs_nobody_anything_and_is_cut(start_server: StartServer) -> None:
    settings = FanOutSettings(send_timeout_seconds=1.0)
    server = await start_server(settings, StreamLimits(RingLimits(events=200)))
    stuck = await raw_client(server.port, f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n", receive_buffer=4096)
    await until(lambda: server.fanout.subscribers == 1)
    (lazy,) = (one for audience in server.fanout._audiences.values() for one in audience)
    largest_buffer = 0
    async with aiohttp.ClientSession() as session, session.get(server.url) as response:
        await until(lambda: server.fanout.subscribers == 2)
        reader = asyncio.create_task(
            read_events(
                response.content, lambda events: bool(events) and events[-1].payload.get("number") == -1
            )
        )
        number = 0
        async with asyncio.timeout(20):
            while server.fanout.subscribers == 2:
                server.emit(number, PADDING)
                number += 1
                largest_buffer = max(largest_buffer, lazy.transport.get_write_buffer_size())
                await asyncio.sleep(0.01)
        server.emit(-1)
        events = await reader
    assert [event.payload["number"] for event in events if event.event == "log"] == [*range(number), -1]
    assert "stream_reset" not in {event.event for event in events}
    assert largest_buffer <= 2 * settings.piece_bytes
    stuck.close()


async def test_the_send_timeout_holds_where_the_kernel_has_none(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = await start_server(FanOutSettings(send_timeout_seconds=0.5))
    path = str(tmp_path / "console.sock")
    await web.UnixSite(server.runner, path).start()
    stuck = socket.socket(socket.AF_UNIX)
    stuck.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(stuck, path)
    await loop.sock_sendall(stuck, f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await until(lambda: server.fanout.subscribers == 1)
    for number in range(100):
        server.emit(number, PADDING)
    await until(lambda: server.fanout.subscribers == 0)
    assert server.fanout.send_timeouts == 1
    stuck.close()


async def test_clients_at_one_place_get_only_what_each_is_owed(start_server: StartServer) -> None:
    server = await start_server(FanOutSettings(piece_bytes=2_000))
    first = server.stream.last_id
    for number in range(100):
        server.emit(number)
    async with (
        aiohttp.ClientSession() as session,
        session.get(server.url, params={"history": "60"}) as with_history,
        session.get(server.url, params={"last_event_id": str(first)}) as resumed,
        session.get(server.url, params={"history": "60"}) as also_with_history,
    ):
        await until(lambda: server.fanout.subscribers == 3)
        subscribers = [one for audience in server.fanout._audiences.values() for one in audience]
        await until(lambda: not any(server.stream.has_more(one.cursor) for one in subscribers))
        server.emit(-1)

        async def kinds(response: aiohttp.ClientResponse) -> list[str]:
            events = await read_events(
                response.content, lambda events: bool(events) and events[-1].payload.get("number") == -1
            )
            return [event.event for event in events]

        assert await kinds(with_history) == ["log"] * 100 + ["presence", "log"]
        assert await kinds(also_with_history) == ["log"] * 100 + ["presence", "log"]
        assert await kinds(resumed) == ["log"] * 101


async def test_a_slow_client_that_the_ring_passed_is_reset_and_goes_on(start_server: StartServer) -> None:
    server = await start_server(limits=StreamLimits(RingLimits(events=50)))
    slow = await raw_client(server.port, f"GET {PATH} HTTP/1.0\r\n\r\n", receive_buffer=4096)
    await until(lambda: server.fanout.subscribers == 1)
    for number in range(600):
        server.emit(number, PADDING)
        if number % 20 == 0:
            await asyncio.sleep(0.06)
    loop = asyncio.get_running_loop()
    data = b""
    async with asyncio.timeout(20):
        while b"stream_reset" not in data or b'"number":-1' not in data:
            data += await loop.sock_recv(slow, 1 << 20)
            if b"stream_reset" in data and b'"number":-1' not in data:
                server.emit(-1)
    events = parse_events(data.split(b"\r\n\r\n", 1)[1].rpartition(b"\n\n")[0] + b"\n\n")
    kinds = [event.event for event in events]
    at = kinds.index("stream_reset")
    assert kinds.count("stream_reset") == 1
    assert kinds[at + 1] == "presence"
    ids = [event.event_id for event in events if event.event_id is not None]
    assert ids == sorted(set(ids))
    slow.close()


async def test_silence_is_filled_with_keep_alives(start_server: StartServer) -> None:
    server = await start_server(FanOutSettings(keep_alive_seconds=0.5))
    async with aiohttp.ClientSession() as session, session.get(server.url) as response:
        async with asyncio.timeout(20):
            while (await response.content.readline()) != b": keep-alive\n":
                pass


async def test_a_client_that_goes_is_forgotten_without_an_event(start_server: StartServer) -> None:
    server = await start_server()
    client = await raw_client(server.port, f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: server.fanout.subscribers == 1)
    client.close()
    await until(lambda: server.fanout.subscribers == 0)


async def test_streams_end_cleanly_when_the_server_stops(start_server: StartServer) -> None:
    server = await start_server()
    async with aiohttp.ClientSession() as session, session.get(server.url) as response:
        await until(lambda: server.fanout.subscribers == 1)
        event_id = server.emit(1)
        await server.fanout.close()
        body = await asyncio.wait_for(response.content.read(), 20)
    assert parse_events(body)[-1].event_id == event_id
    assert server.fanout.subscribers == 0


async def test_ids_are_reserved_before_the_first_is_issued(start_server: StartServer) -> None:
    server = await start_server()
    assert len(server.stored) == 1
    assert server.emit(1) < server.stored[0]


async def test_whoever_opens_an_unwatched_console_gets_its_history_and_then_what_is_live(
    start_server: StartServer,
) -> None:
    server = await start_server(limits=replace(StreamLimits(), max_frames_per_second=None))
    batch = frames(range(400))
    packet = encode_frames(PacketNumber("00" * 8, 1), batch, 1000)
    for _ in range(20):
        server.stream.offer_packet(batch, packet, CAN0, clock.now())
    async with aiohttp.ClientSession() as session:
        async with session.get(server.url, params={"history": "30"}) as response:
            events = await read_events(response.content, lambda events: counted(events) == 8000)
            server.stream.offer_packet(batch, packet, CAN0, clock.now())
            events += await read_events(response.content, lambda events: counted(events) == 400)
        await until(lambda: server.fanout.subscribers == 0)
        server.stream.offer_packet(batch, packet, CAN0, clock.now())
        assert server.stream.is_behind
        last = str(events[-1].event_id)
        async with session.get(server.url, headers={"Last-Event-ID": last}) as response:
            events += await read_events(response.content, lambda events: counted(events) == 400)
    assert [event.payload["id"] for event in events if event.event == "can_frame"] == [
        f"0x{number:03X}" for number in range(400)
    ] * 22
    ids = [event.event_id for event in events if event.event_id is not None]
    assert ids == sorted(set(ids))


async def test_a_thousand_subscribers_get_every_frame(start_server: StartServer) -> None:
    server = await start_server(limits=replace(StreamLimits(), max_frames_per_second=None))
    request = f"GET {PATH} HTTP/1.0\r\n\r\n"
    clients = [await raw_client(server.port, request) for _ in range(1000)]
    await until(lambda: server.fanout.subscribers == 1000)
    for number in range(10):
        server.stream.offer_body(frames(range(20)), CAN0, clock.now().seconds)
        await asyncio.sleep(0.02 * (number % 3))
    last = server.emit(-1)
    loop = asyncio.get_running_loop()

    async def read_all(client: socket.socket) -> int:
        data = b""
        while f"id: {last}\n".encode() not in data or not data.endswith(b"\n\n"):
            data += await loop.sock_recv(client, 1 << 16)
        client.close()
        return counted(parse_events(data.split(b"\r\n\r\n", 1)[1]))

    async with asyncio.timeout(60):
        assert await asyncio.gather(*map(read_all, clients)) == [200] * 1000
    await until(lambda: server.fanout.subscribers == 0)


async def test_stalled_clients_keep_memory_flat(start_server: StartServer) -> None:
    """A hundred that never read, 40 MB of events each: what the server keeps is the ring."""
    # None may be cut off before the end, however slow the machine is.
    settings = FanOutSettings(send_timeout_seconds=600.0)
    server = await start_server(settings, StreamLimits(RingLimits(events=100)))
    request = f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n"
    clients = [await raw_client(server.port, request, receive_buffer=4096) for _ in range(100)]
    await until(lambda: server.fanout.subscribers == 100)
    before = 0
    for number in range(2000):
        server.emit(number, PADDING)
        if number % 20 == 0:
            await asyncio.sleep(0.051)
        if number == 500:
            before = resident(os.getpid()).now
    assert resident(os.getpid()).now - before < 10 * 1024 * 1024
    assert server.fanout.subscribers == 100
    for client in clients:
        with contextlib.suppress(OSError):
            client.close()


def test_whoever_reads_gets_every_event_with_stalled_clients_among_them() -> None:
    """As the benchmark measures it: a server in a process of its own, 1,000 events a second."""
    load = measure("ours", subscribers=200, seconds=1.0, patience_seconds=30.0)
    assert (load.stalled, load.delivered_percent) == (STALLED, 100)
