"""A fan-out of one stream behind a real aiohttp server, and raw clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from stream_server import clock
from stream_server.sse.endpoint import serve_console
from stream_server.sse.fanout import FanOut, FanOutSettings
from stream_server.streams.console import ConsoleStream, StreamLimits
from stream_server.streams.event_ids import IdSource
from stream_server.streams.hub import StreamHub
from tests.helpers.sse_streams import Event, parse_events

PATH = "/api/v1/streams/dongles/van7-can0/console"
PADDING = "x" * 20_000


@dataclass
class Running:
    fanout: FanOut
    stream: ConsoleStream
    runner: web.AppRunner
    port: int
    stored: list[int]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    def emit(self, number: int, padding: str = "") -> int:
        return self.stream.emit("log", {"number": number, "message": padding}, clock.now())


StartServer = Callable[..., Awaitable[Running]]


@contextlib.asynccontextmanager
async def sse_servers() -> AsyncIterator[StartServer]:
    """Starts servers of one stream each; all are stopped at the end."""
    running: list[Running] = []

    async def start(settings: FanOutSettings | None = None, limits: StreamLimits | None = None) -> Running:
        stored: list[int] = []

        async def store(value: int) -> None:
            stored.append(value)

        hub = StreamHub(IdSource(1_766_417_462_000_000), limits or StreamLimits())
        fanout = FanOut(hub, store, settings)
        await fanout.start()
        stream = hub.get("van7-can0")

        async def console(request: web.Request) -> web.StreamResponse:
            return await serve_console(request, fanout, stream)

        app = web.Application()
        app.router.add_get(PATH, console)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        running.append(Running(fanout, stream, runner, port, stored))
        return running[-1]

    yield start
    for one in running:
        await one.fanout.close()
        await one.runner.cleanup()


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def raw_client(port: int, request: str, receive_buffer: int | None = None) -> socket.socket:
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, request.encode())
    return client


async def read_events(content: aiohttp.StreamReader, wanted: Callable[[list[Event]], bool]) -> list[Event]:
    data = b""
    async with asyncio.timeout(20):
        while True:
            complete = data[: data.rfind(b"\n\n") + 2] if b"\n\n" in data else b""
            events = parse_events(complete)
            if wanted(events):
                return events
            data += await content.readany()
