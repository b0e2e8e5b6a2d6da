"""Servers of one event stream for the benchmarks, each a process of its own, and clients that only read.

    python bench/sides/sse_servers.py ours|sse-starlette|nchan [--rate 1000] [--events N] [--before N]
        [--missed N]

`ours` is the fan-out behind aiohttp. `sse-starlette` runs on uvicorn, with a queue for each client and a
deque of past events that is searched for a client that resumes: the usual way to do it. `nchan` is nginx's
module for publishing and subscribing, and this process its publisher. A server makes `--before` events at
once and says where it is in a line of JSON; it makes the others when a line comes in, and ends with its
standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import uvicorn
from aiohttp import web
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from stream_server import clock
from stream_server.sse.endpoint import serve_console
from stream_server.sse.fanout import FanOut
from stream_server.streams.console import StreamLimits
from stream_server.streams.event_ids import IdSource
from stream_server.streams.hub import StreamHub

BURST_SECONDS = 0.01
RING_EVENTS = 10_000
# In every event once and nowhere else, so that events can be counted wherever the bytes are cut.
MARK = b"~"
STAMP = b'"made_ns":'
SSE_STARLETTE, NCHAN = "sse-starlette", "nchan"
NGINX = which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
NO_NCHAN = "nginx with nchan: needs Debian's packages nginx-light and libnginx-mod-nchan"

_NGINX_CONFIG = """
load_module {module}; daemon off; worker_processes 1; worker_rlimit_nofile 16384;
pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/a; uwsgi_temp_path {folder}/b;
  scgi_temp_path {folder}/c; nchan_max_reserved_memory 256M; nchan_message_buffer_length {events};
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      nchan_subscriber eventsource; nchan_channel_id bench; nchan_subscriber_first_message newest;
    }}
    location /publish {{ nchan_publisher; nchan_channel_id bench; }}
  }}
}}
"""


@dataclass(frozen=True)
class Plan:
    """Which events a server makes: `before` at once, then `events` at `rate` per second.

    A client that resumes has missed `missed` of those before.
    """

    rate: int
    events: int
    before: int = 0
    missed: int = 0


@dataclass(frozen=True)
class Served:
    """A server that runs: `pids` are of the processes that serve, `resume_id` the last one a client saw."""

    port: int
    pids: list[int]
    resume_id: str
    begin: Callable[[], None]

    def cpu_seconds(self) -> float:
        """User and system time (proc(5), fields 14 and 15 of stat)."""
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def serving(name: str, plan: Plan) -> Iterator[Served]:
    """A server in a process of its own."""
    command = [sys.executable, __file__, name]
    command += [f"--{field}={value}" for field, value in vars(plan).items()]
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": directory},
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def begin() -> None:
            print("begin", file=process.stdin, flush=True)

        yield Served(**json.loads(process.stdout.readline()), begin=begin)


class Clients:
    """Connections to a stream, all answered, that one epoll waits for."""

    def __init__(self, port: int, count: int, header: str = "") -> None:
        self.sockets: dict[int, socket.socket] = {}
        self.connected_ns: dict[int, int] = {}
        self._poll = select.epoll()
        for _ in range(count):
            client = connect(port, header)
            client.setblocking(False)
            self.sockets[client.fileno()] = client
            self.connected_ns[client.fileno()] = time.monotonic_ns()
            self._poll.register(client.fileno(), select.EPOLLIN)

    def read(self, until: float) -> Iterator[tuple[int, bytes]]:
        """(client, bytes) as they come, before the monotonic second `until`."""
        while (now := time.monotonic()) < until:
            for descriptor, _ in self._poll.poll(until - now):
                data = self.sockets[descriptor].recv(1 << 18)
                if not data:
                    raise SystemExit("the server closed a connection")
                yield descriptor, data

    def wait_for_answers(self, seconds: float = 20.0) -> None:
        """Until every one has got something."""
        answered = set()
        for descriptor, _ in self.read(time.monotonic() + seconds):
            answered.add(descriptor)
            if len(answered) == len(self.sockets):
                return
        raise SystemExit("not every client was answered")

    def close(self) -> None:
        for client in self.sockets.values():
            client.close()
        self._poll.close()


def connect(port: int, header: str = "", receive_buffer: int | None = None) -> socket.socket:
    """A client that has sent its request."""
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.connect(("127.0.0.1", port))
    client.sendall(f"GET / HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n{header}\r\n".encode())
    return client


def payload() -> dict[str, Any]:
    return {
        "type": "can_frame",
        "ts": "2025-12-22T15:31:02.000123Z",
        "dongle_id": "van7-can0",
        "direction": "rx",
        "bus": MARK.decode(),
        "id": "0x7E8",
        "is_extended": False,
        "dlc": 8,
        "data_hex": "02 10 03 00 00 00 00 00",
        "count": 1,
        "made_ns": time.monotonic_ns(),
    }


class Maker:
    """Makes the events of a plan by calling `make`, which gives their ids."""

    def __init__(self, plan: Plan, make: Callable[[], str]) -> None:
        self._plan = plan
        self._make = make
        self._begin = threading.Event()
        self.children: list[subprocess.Popen[bytes]] = []

    async def run(self, port: int, pids: list[int]) -> None:
        """Says where the server is, waits for the word, and makes what is due however late the loop runs."""
        ids = ["", *(self._make() for _ in range(self._plan.before))]
        resume_id = ids[-1 - self._plan.missed]
        threading.Thread(target=self._obey, daemon=True).start()
        print(json.dumps({"port": port, "pids": pids, "resume_id": resume_id}), flush=True)
        await asyncio.to_thread(self._begin.wait)
        began, made = time.monotonic(), 0
        while made < self._plan.events:
            due = min(int((time.monotonic() - began) * self._plan.rate), self._plan.events)
            for _ in range(due - made):
                self._make()
            made = due
            await asyncio.sleep(BURST_SECONDS)
        await asyncio.Event().wait()

    def _obey(self) -> None:
        sys.stdin.readline()
        self._begin.set()
        sys.stdin.read()
        for child in self.children:
            child.terminate()
            child.wait()
        os._exit(0)


async def serve_ours(plan: Plan) -> None:
    async def store(value: int) -> None:
        pass

    hub = StreamHub(IdSource(time.time_ns() // 1000), StreamLimits())
    fanout = FanOut(hub, store)
    await fanout.start()
    stream = hub.get("van7-can0")

    async def console(request: web.Request) -> web.StreamResponse:
        return await serve_console(request, fanout, stream)

    app = web.Application()
    app.router.add_get("/", console)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    maker = Maker(plan, lambda: str(stream.emit("can_frame", payload(), clock.now())))
    await maker.run(runner.addresses[0][1], [os.getpid()])


async def serve_sse_starlette(plan: Plan) -> None:
    # It warns of every write to a client that has gone.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    queues: set[asyncio.Queue[dict[str, str]]] = set()
    past: deque[dict[str, str]] = deque(maxlen=RING_EVENTS)
    last_id = 0

    async def console(request: Request) -> EventSourceResponse:
        queue: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        resume_id = request.headers.get("Last-Event-ID")
        missed = [] if resume_id is None else [event for event in past if int(event["id"]) > int(resume_id)]
        queues.add(queue)

        async def events() -> AsyncIterator[dict[str, str]]:
            try:
                yield {"comment": "welcome"}
                for event in missed:
                    yield event
                while True:
                    yield await queue.get()
            finally:
                queues.discard(queue)

        return EventSourceResponse(events())

    def make() -> str:
        nonlocal last_id
        last_id += 1
        event = {"id": str(last_id), "event": "can_frame", "data": json.dumps(payload())}
        past.append(event)
        for queue in queues:
            queue.put_nowait(event)
        return str(last_id)

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    app = Starlette(routes=[Route("/", console)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve([listener]))
        tasks.create_task(Maker(plan, make).run(listener.getsockname()[1], [os.getpid()]))


def start_nginx() -> tuple[subprocess.Popen[bytes], int]:
    """nginx with one worker, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    assert NGINX is not None
    folder = Path(tempfile.mkdtemp())
    config = folder / "nginx.conf"
    config.write_text(_NGINX_CONFIG.format(folder=folder, port=port, module=NCHAN_MODULE, events=RING_EVENTS))
    return subprocess.Popen([NGINX, "-p", str(folder), "-c", str(config)]), port


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def publish_to_nchan(plan: Plan) -> None:
    nginx, port = start_nginx()
    reader, writer = await _connected(port)

    def make() -> str:
        body = json.dumps(payload()).encode()
        head = "POST /publish HTTP/1.1\r\nHost: bench\r\nX-EventSource-Event: can_frame\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return ""

    async def discard_answers() -> None:
        with contextlib.suppress(ConnectionError):  # nginx ends before this process does
            while await reader.read(1 << 16):
                pass

    maker = Maker(plan, make)
    maker.children.append(nginx)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(discard_answers())
        tasks.create_task(maker.run(port, [nginx.pid, *children_of(nginx.pid)]))


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(10):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)


SERVERS = {"ours": serve_ours, SSE_STARLETTE: serve_sse_starlette, NCHAN: publish_to_nchan}


def has_nchan() -> bool:
    return NGINX is not None and NCHAN_MODULE.exists()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=SERVERS)
    for field in ("rate", "events", "before", "missed"):
        parser.add_argument(f"--{field}", type=int, default=0)
    options = vars(parser.parse_args())
    asyncio.run(SERVERS[options.pop("name")](Plan(**options)))
