"""How long a frame takes from the bus to a reader of the event stream, through a real agent and server.

    python bench/latency.py [--interface vcan0] [--seconds 8]

Every frame carries the time it was sent at. A reader of the console's stream, whose sampling is off so that
every frame is shown, takes the difference when it arrives. At a steady rate, and for the first frame after
a second of silence. Where there is no AF_CAN a local datagram socket stands in for the bus. Milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.frame_block import FrameBlock
from bench.pipeline import DATABASE, ROOT, SIDES, Work, agent_config, sockets
from bench.receive import STAND_IN, has_interface
from bench.report import show
from tests.helpers.agents import list_dongle
from tests.helpers.conditions import eventually
from tests.helpers.processes import EnrolledAgent, StreamServer

RATES: Final = (1_000.0, 8_000.0)
WARM_UP_SECONDS: Final = 2.0
AFTER_IDLE: Final = 30
IDLE_SECONDS: Final = 1.0
MOST_P95_MS: Final = 120.0
MOST_P95_AFTER_IDLE_MS: Final = 30.0
_SETTLE_SECONDS: Final = 2.0
_DATA: Final = re.compile(rb'"data_hex":"((?:[0-9A-F]{2} ){7}[0-9A-F]{2})"')
# Messages of the database with 8 bytes of data.
_IDS: Final = (256, 272, 288, 416)


@dataclass(frozen=True)
class Latency:
    """`shown`: how many of the frames sent were shown. Milliseconds."""

    name: str
    p50: float
    p95: float
    p99: float
    most: float
    p95_required: float
    shown: int
    sent: int


class Console:
    """A reader of the event stream, in a thread: (arrived, sent) of every frame, in ns."""

    def __init__(self, server: StreamServer, dongle_id: str, token: str) -> None:
        self.seen: list[tuple[int, int]] = []
        self._connection = socket.create_connection(("127.0.0.1", server.port))
        path = f"/api/v1/streams/dongles/{dongle_id}/console"
        head = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._connection.sendall(head.encode())
        threading.Thread(target=self._read, daemon=True).start()

    def close(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _read(self) -> None:
        rest = b""
        while data := self._connection.recv(1 << 18):
            arrived_ns = time.monotonic_ns()
            data, end = rest + data, 0
            for found in _DATA.finditer(data):
                (sent_ns,) = struct.unpack("<Q", bytes.fromhex(found[1].decode()))
                self.seen.append((arrived_ns, sent_ns))
                end = found.end()
            rest = data[end:]


@contextlib.contextmanager
def running(interface: str | None) -> Iterator[tuple[Console, list[socket.socket]]]:
    """A server, an agent that streams to it, and somebody who watches; the sockets that feed the agent."""
    work = Work(DATABASE, interface)
    with (
        tempfile.TemporaryDirectory() as name,
        StreamServer(Path(name) / "server") as server,
        sockets(work) as (descriptors, senders),
    ):
        agent = EnrolledAgent(server, "bench", Path(name))
        dongle_id = list_dongle(server, agent, interface or "0")
        show_all(server, dongle_id)
        config = agent_config(work, server.url, agent.token_file, "bench")
        command = [*SIDES, "ours", "--config", str(config), "--descriptors", *map(str, descriptors)]
        token = server.create_token("viewer")
        environment = os.environ | {"STATE_DIRECTORY": name, "XDG_RUNTIME_DIR": name}
        with subprocess.Popen(
            command, pass_fds=descriptors, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment
        ) as process:
            try:
                path = f"/api/v1/dongles/{dongle_id}/signals"
                with contextlib.closing(Console(server, dongle_id, token)) as console:
                    block(1).send(senders, 100, 100.0, stamped=True)
                    eventually(lambda: console.seen, "the first frame is shown")
                    eventually(lambda: server.read_json(path, token)["signals"], "values of signals")
                    yield console, senders
            finally:
                process.kill()


def show_all(server: StreamServer, dongle_id: str) -> None:
    """No sampling."""
    request = urllib.request.Request(
        f"{server.url}/api/v1/streams/dongles/{dongle_id}/sampling",
        json.dumps({"max_frames_per_second": None}).encode(),
        {"Authorization": f"Bearer {server.create_token('operator')}", "Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10):
        pass


def block(frames: int) -> FrameBlock:
    return FrameBlock([struct.pack("=IB3x8x", _IDS[number % len(_IDS)], 8) for number in range(frames)])


def steady(console: Console, senders: list[socket.socket], rate: float, seconds: float) -> Latency:
    frames = block(4_000)
    frames.send(senders, int(rate * WARM_UP_SECONDS), rate, stamped=True)
    began_ns, sent = time.monotonic_ns(), int(rate * seconds)
    frames.send(senders, sent, rate, stamped=True)
    return _latency(f"{rate:.0f} frames/s", console, began_ns, sent, MOST_P95_MS)


def after_idle(console: Console, senders: list[socket.socket], times: int) -> Latency:
    frames, began_ns = block(1), time.monotonic_ns()
    for _ in range(times):
        time.sleep(IDLE_SECONDS)
        frames.send(senders, 1, 1_000.0, stamped=True)
    return _latency("first after 1 s of silence", console, began_ns, times, MOST_P95_AFTER_IDLE_MS)


def _latency(name: str, console: Console, began_ns: int, sent: int, required: float) -> Latency:
    def shown() -> list[float]:
        return sorted((arrived - made) / 1e6 for arrived, made in list(console.seen) if made >= began_ns)

    with contextlib.suppress(AssertionError):  # said in the figures
        eventually(lambda: len(shown()) >= sent, "every frame is shown", _SETTLE_SECONDS)
    delays = shown()
    p50, p95, p99 = (delays[int(len(delays) * share)] for share in (0.5, 0.95, 0.99))
    return Latency(name, p50, p95, p99, delays[-1], required, len(delays), sent)


def measure(interface: str | None, seconds: float, times: int = AFTER_IDLE) -> list[Latency]:
    with running(interface) as (console, senders):
        measured = [steady(console, senders, rate, seconds) for rate in RATES]
        return [*measured, after_idle(console, senders, times)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--interface", help="default: vcan0 where there is one")
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    interface = options.interface or ("vcan0" if has_interface("vcan0") else None)
    print(f"bus: {interface or STAND_IN}")
    results = measure(interface, options.seconds)
    for result in results:
        show(result)
    return 0 if all(result.p95 < result.p95_required for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
