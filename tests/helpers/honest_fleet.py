"""Honest agents and consoles beside whatever else a server has to bear: what they notice of it."""

from __future__ import annotations

import http.client
import re
import select
import selectors
import socket
import statistics
import threading
import time
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import numpy as np

from bench.ingest import connected, masked
from can_stream.frames.batches import FrameBatch
from can_stream.protocol.control import DongleInfo, Heartbeat, Hello, encode_control_message
from can_stream.protocol.hop import Envelope, HopEncoder, RangeKind
from can_stream.protocol.lanes_control import LaneHello, LanesHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, encode_frames, encode_gap
from tests.helpers.agents import RegisteredAgent, registered_agents
from tests.helpers.processes import StreamServer

FLUSH_SECONDS: Final = 0.25
_PROBE_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 30.0
_TIMESTAMP: Final = re.compile(rb'"ts":"([^"]+)"')
_START: Final = "00000000000000aa"
_BINARY, _TEXT = 0x82, 0x81


class Noticed(NamedTuple):
    """Of a while, in seconds: the 99th percentiles of two delays, and how often `/healthz` failed."""

    console_p99: float
    health_p99: float
    health_failures: int


class _Agent:
    """One agent's connections; it sends a packet of frames that were on the bus until now."""

    def __init__(self, server: StreamServer, agent: RegisteredAgent, frames: int) -> None:
        token, self.dongle_id = agent.token_file.read_text().strip(), f"{agent.agent_id}-can0"
        dongle = DongleInfo(self.dongle_id, "socketcan", "can0")
        clocks = (time.monotonic_ns(), time.time_ns(), True)
        hello = Hello(agent.agent_id, _START, "boot", *clocks, "honest", [dongle])
        lanes = LanesHello(_START, [LaneHello(self.dongle_id, "frames", 1)])
        self.control = connected(server.port, "/ws/agent", token, _message(hello))
        self._data = connected(server.port, "/ws/data", token, _message(lanes))
        self._hop, self._seq, self.sent = HopEncoder(), 1, 0
        chance = np.random.default_rng(frames)
        self._template = FrameBatch(
            np.zeros(frames, np.int64),
            chance.integers(0x100, 0x140, frames).astype(np.uint32),
            np.zeros(frames, np.uint8),
            np.full(frames, 8, np.uint8),
            chance.integers(0, 256, (frames, 8)).astype(np.uint8),
        )
        self._put(encode_gap(PacketNumber(_START, 1), Gap(GapReason.START, 1, None)))

    def send(self) -> None:
        one, frames = self._template, len(self._template)
        steps = np.arange(1 - frames, 1) * round(FLUSH_SECONDS * 1e9 / frames)
        now = FrameBatch(time.time_ns() + steps, one.arbitration_id, one.flags, one.length, one.data)
        self._seq += 1
        self._put(encode_frames(PacketNumber(_START, self._seq), now, 1000))
        self.sent += frames

    def _put(self, packet: bytes) -> None:
        self._data.sendall(masked(_BINARY, self._hop.encode(Envelope(0, RangeKind.LIVE, packet))))
        self._read(self._data)  # acks are not waited for: the recording is looked at

    def beat(self) -> None:
        self.control.sendall(_message(Heartbeat(time.monotonic_ns(), time.time_ns(), True)))
        self._read(self.control)

    def _read(self, connection: socket.socket) -> None:
        if select.select([connection], [], [], 0)[0]:
            assert connection.recv(1 << 20), f"{self.dongle_id} was cut off"

    def close(self) -> None:
        self._data.close()
        self.control.close()


class HonestFleet:
    """Agents at an even rate, a console of each, and somebody who asks `/healthz` 20 times a second.

    A context manager. `failure` is what went wrong in it.
    """

    def __init__(
        self, server: StreamServer, directory: Path, *, agents: int = 20, frames_per_second: int = 500
    ) -> None:
        names = [f"honest{number:02}" for number in range(agents)]
        frames = round(frames_per_second * FLUSH_SECONDS)
        self._server = server
        self.agents = [_Agent(server, agent, frames) for agent in registered_agents(server, names, directory)]
        viewer = server.create_token()
        self._consoles = [_console(server.port, one.dongle_id, viewer) for one in self.agents]
        self._delays: list[float] = []
        self._health: list[float] = []
        self._health_failures = 0
        self._left = threading.Event()
        self.failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._guarded, args=(run,))
            for run in (self._send, self._follow, self._probe)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        for thread in self._threads:
            thread.join()
        for one in self.agents:
            one.close()
        for console in self._consoles:
            console.close()

    def notices(self, seconds: float) -> Noticed:
        """Look for a while."""
        self._delays, self._health, self._health_failures = [], [], 0
        self._left.wait(seconds)
        if self.failure is not None:
            raise self.failure
        return Noticed(_p99(self._delays), _p99(self._health), self._health_failures)

    def stop(self) -> dict[str, int]:
        """Stop sending; how many frames were sent of each dongle."""
        self._left.set()
        self._threads[0].join()
        return {one.dongle_id: one.sent for one in self.agents}

    def _guarded(self, run: object) -> None:
        try:
            assert callable(run)
            run()
        except BaseException as error:
            if not self._left.is_set():
                self.failure = error
                self._left.set()

    def _send(self) -> None:
        due_seconds, step_seconds, turn = time.monotonic(), FLUSH_SECONDS / len(self.agents), 0
        while not self._left.wait(max(0.0, due_seconds - time.monotonic())):
            agent = self.agents[turn % len(self.agents)]
            agent.send()
            if turn // len(self.agents) % round(5.0 / FLUSH_SECONDS) == 0:
                agent.beat()
            turn, due_seconds = turn + 1, due_seconds + step_seconds

    def _follow(self) -> None:
        with selectors.DefaultSelector() as ready:
            for console in self._consoles:
                ready.register(console, selectors.EVENT_READ)
            while not self._left.is_set():
                for key, _ in ready.select(_PROBE_SECONDS):
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(1 << 18)
                    assert data, "a console was ended"
                    now_seconds = time.time()
                    if found := _TIMESTAMP.findall(data):
                        sent = datetime.fromisoformat(found[-1].decode())
                        self._delays.append(now_seconds - sent.timestamp())

    def _probe(self) -> None:
        while not self._left.wait(_PROBE_SECONDS):
            asked_seconds = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=_PATIENCE_SECONDS)
            try:
                connection.request("GET", "/healthz")
                self._health_failures += connection.getresponse().status != 200
            except OSError:
                self._health_failures += 1
            finally:
                connection.close()
            self._health.append(time.monotonic() - asked_seconds)


def _console(port: int, dongle_id: str, viewer: str) -> socket.socket:
    console = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS)
    path = f"/api/v1/streams/dongles/{dongle_id}/console"
    console.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {viewer}\r\n\r\n".encode())
    head = console.recv(1 << 16)
    assert head.startswith(b"HTTP/1.1 200 "), head
    return console


def _message(message: Hello | Heartbeat | LanesHello) -> bytes:
    return masked(_TEXT, encode_control_message(message).encode())


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[-1]
