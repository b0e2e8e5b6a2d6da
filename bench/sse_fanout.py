"""1,000 subscribers of one stream at 1,000 events/s: ours against one queue per client.

    python bench/sse_fanout.py [--subscribers 1000] [--rounds 2] [--seconds 5]

The peer is sse-starlette on uvicorn with an asyncio.Queue for each client, the usual way to do it. Each
server runs in a process of its own and makes its own events; this process only reads, with epoll. Counted
are deliveries (one event to one client) per CPU second of the server process, as the kernel accounts it.
A server that cannot deliver everything is counted by what it did deliver. Prints `name ratio ours peer`
and one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import uvicorn
from aiohttp import web
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from stream_server.fanout import FanOut
from stream_server.ring import IdSource
from stream_server.sse_endpoint import serve_console

REQUIRED_RATIO = 15.0
BURST_EVENTS = 10
BURST_SECONDS = 0.01
WARM_UP_SECONDS = 1.5
DELAY_CLIENTS = 20


@dataclass(frozen=True)
class Result:
    deliveries_per_cpu_second: float
    deliveries_per_second: float
    cpu_share: float
    p99_delay_seconds: float


def payload() -> dict[str, Any]:
    return {
        "type": "can_frame",
        "ts": "2025-12-22T15:31:02.000123Z",
        "dongle_id": "van7-can0",
        "direction": "rx",
        "bus": "can0",
        "id": "0x7E8",
        "is_extended": False,
        "dlc": 8,
        "data_hex": "02 10 03 00 00 00 00 00",
        "count": 1,
        "made_ns": time.monotonic_ns(),
    }


async def burst_forever(make_event: Any, ready: Any) -> None:
    """Calls `make_event` 1,000 times a second once `ready`, however late the loop runs."""
    due = time.monotonic()
    while True:
        while due <= time.monotonic():
            due += BURST_SECONDS
            for _ in range(BURST_EVENTS if ready() else 0):
                make_event()
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def serve_ours(subscribers: int) -> None:
    async def store(value: int) -> None:
        pass

    fanout = FanOut(IdSource(time.time_ns() // 1000), store)
    await fanout.start()
    stream = fanout.hub.get("van7-can0")

    async def console(request: web.Request) -> web.StreamResponse:
        return await serve_console(request, fanout, stream)

    app = web.Application()
    app.router.add_get("/", console)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    print(runner.addresses[0][1], flush=True)
    await burst_forever(
        lambda: stream.emit("can_frame", payload(), fanout.now()),
        lambda: fanout.subscribers >= subscribers,
    )


async def serve_peer(subscribers: int) -> None:
    queues: set[asyncio.Queue[dict[str, str]]] = set()
    last_id = 0

    async def console(request: Request) -> EventSourceResponse:
        queue: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        queues.add(queue)

        async def events() -> AsyncIterator[dict[str, str]]:
            try:
                while True:
                    yield await queue.get()
            finally:
                queues.discard(queue)

        return EventSourceResponse(events())

    def make_event() -> None:
        nonlocal last_id
        last_id += 1
        event = {"id": str(last_id), "event": "can_frame", "data": json.dumps(payload())}
        for queue in queues:
            queue.put_nowait(event)

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    app = Starlette(routes=[Route("/", console)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    serving = asyncio.create_task(server.serve([listener]))
    print(listener.getsockname()[1], flush=True)
    await burst_forever(make_event, lambda: len(queues) >= subscribers)
    await serving


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_for(
    poll: select.epoll, clients: dict[int, socket.socket], seconds: float
) -> tuple[int, list[float]]:
    """Reads what comes; how many events, and the delays seen by a few of the clients."""
    sampled = set(list(clients)[:DELAY_CLIENTS])
    deliveries = 0
    delays: list[float] = []
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        for descriptor, _ in poll.poll(until - now):
            data = clients[descriptor].recv(1 << 18)
            if not data:
                raise SystemExit("the server closed a connection")
            deliveries += data.count(b"\nevent: ") + data.startswith(b"event: ")
            if descriptor in sampled:
                arrived_ns = time.monotonic_ns()
                for rest in data.split(b'"made_ns":')[1:]:
                    stamp = rest.partition(b"}")
                    if stamp[1]:
                        delays.append((arrived_ns - int(stamp[0])) / 1e9)
    return deliveries, delays


def connect_all(port: int, subscribers: int) -> tuple[select.epoll, dict[int, socket.socket]]:
    poll, clients = select.epoll(), {}
    for _ in range(subscribers):
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n")
        client.setblocking(False)
        clients[client.fileno()] = client
        poll.register(client.fileno(), select.EPOLLIN)
    return poll, clients


def measure(name: str, subscribers: int, seconds: float) -> Result:
    command = [sys.executable, __file__, "--serve", name, "--subscribers", str(subscribers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            poll, clients = connect_all(int(server.stdout.readline()), subscribers)
            read_for(poll, clients, WARM_UP_SECONDS)
            cpu_before, before = cpu_seconds(server.pid), time.monotonic()
            deliveries, delays = read_for(poll, clients, seconds)
            cpu, elapsed = cpu_seconds(server.pid) - cpu_before, time.monotonic() - before
        finally:
            server.kill()
    for client in clients.values():
        client.close()
    p99 = sorted(delays)[int(len(delays) * 0.99)] if delays else float("inf")
    return Result(deliveries / cpu, deliveries / elapsed, cpu / elapsed, p99)


def middle(results: list[Result]) -> Result:
    columns = zip(*(asdict(result).values() for result in results), strict=True)
    return Result(*(median(column) for column in columns))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--serve", choices=("ours", "peer"))
    options = parser.parse_args()
    if options.serve:
        asyncio.run((serve_ours if options.serve == "ours" else serve_peer)(options.subscribers))
        return 0
    results: dict[str, list[Result]] = {"ours": [], "peer": []}
    for _ in range(options.rounds):
        for name, measured in results.items():
            measured.append(measure(name, options.subscribers, options.seconds))
    ours, peer = middle(results["ours"]), middle(results["peer"])
    ratio = ours.deliveries_per_cpu_second / peer.deliveries_per_cpu_second
    print(f"sse_fanout {ratio:.1f} {ours.deliveries_per_cpu_second:.0f} {peer.deliveries_per_cpu_second:.0f}")
    summary = {"name": "sse_fanout", "ratio": round(ratio, 1), "required": REQUIRED_RATIO}
    print(json.dumps(summary | {"ours": asdict(ours), "peer": asdict(peer)}))
    return 0 if ratio >= REQUIRED_RATIO else 1


if __name__ == "__main__":
    raise SystemExit(main())
