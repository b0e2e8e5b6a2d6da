"""Those who take more than their share, each a process of low priority: `python -m tests.helpers.attackers`.

    python -m tests.helpers.attackers NAME PORT AGENT_ID AGENT_TOKEN VIEWER_TOKEN VICTIM_DONGLE

Each goes on until it is killed, whatever the server does to it. `idle` does nothing to the server, with the
same use of a processor: what the others are compared with.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np

from bench.ingest import connected, masked
from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.protocol.control import DongleInfo, Heartbeat, Hello, Log, encode_control_message
from can_stream.protocol.hop import Envelope, HopEncoder, RangeKind
from can_stream.protocol.lanes_control import LaneHello, LanesHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, encode_frames, encode_gap

REGISTER: Final = b"POST /api/v1/agents/register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
_BINARY, _TEXT = 0x82, 0x81
_PAUSE_SECONDS: Final = 0.01
_MOST_OPEN: Final = 2_000


class Target(NamedTuple):
    """The server, and what the attacker may show it."""

    port: int
    agent_id: str
    agent_token: str
    viewer: str
    victim: str

    def connect(self, receive_bytes: int | None = None) -> socket.socket:
        opened = socket.socket()
        if receive_bytes is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        opened.settimeout(5.0)
        opened.connect(("127.0.0.1", self.port))
        return opened

    def hello(self, dongles: int) -> str:
        clocks = (time.monotonic_ns(), time.time_ns(), True)
        infos = [DongleInfo(f"{self.agent_id}-{number}", "socketcan", "can0") for number in range(dongles)]
        start = os.urandom(8).hex()
        return encode_control_message(Hello(self.agent_id, start, "boot", *clocks, "attacker", infos))


def spin(_target: Target) -> None:
    while True:
        sum(range(1000))


def inflate(target: Target) -> None:
    """Bodies that are a thousand times larger than they look, for routes that want them and that do not."""
    bomb = gzip.compress(bytes(64 << 20))
    for path in itertools.cycle([b"/api/v1/agents/register", b"/healthz", b"/nothing"]):
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        with target.connect() as opened:
            opened.sendall(head % (path, len(bomb)) + bomb)
            opened.recv(1 << 16)


def hold(target: Target) -> None:
    """Connections that ask for nothing."""
    _hold(target, b"")


def bodies(target: Target) -> None:
    """Bodies that never end."""
    _hold(target, REGISTER + b"Content-Length: 262000\r\n\r\n{" + b" " * 255_000)


def _hold(target: Target, text: bytes) -> None:
    held: list[socket.socket] = []
    while True:
        with contextlib.suppress(OSError):
            opened = target.connect()
            held.append(opened)
            opened.sendall(text)
        if len(held) >= _MOST_OPEN:
            held.pop(0).close()
        time.sleep(_PAUSE_SECONDS / 10)


def void_tokens(target: Target) -> None:
    """Tokens that nobody has."""
    while True:
        with target.connect() as opened:
            token = b"sst_" + os.urandom(32).hex().encode()
            opened.sendall(
                b"GET /api/v1/dongles HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % token
            )
            opened.recv(1 << 16)


def downloads(target: Target) -> None:
    """Whole recordings that are asked for and not read."""
    held: list[socket.socket] = []
    ask = f"GET /api/v1/dongles/{target.victim}/frames?format=jsonl HTTP/1.1\r\nHost: x\r\n"
    while True:
        opened = target.connect(receive_bytes=4096)
        opened.sendall(f"{ask}Authorization: Bearer {target.viewer}\r\n\r\n".encode())
        held.append(opened)
        if len(held) >= _MOST_OPEN // 4:
            held.pop(0).close()
        time.sleep(_PAUSE_SECONDS)


def logs(target: Target) -> None:
    """Large messages for the consoles of all dongles of an agent."""
    now_ns = time.time_ns()
    text = encode_control_message(
        Log(now_ns, "info", "attacker", "m", details={"text": "x" * 200_000})
    ).encode()
    with contextlib.closing(
        connected(target.port, "/ws/agent", target.agent_token, masked(_TEXT, target.hello(64).encode()))
    ) as opened:
        while True:
            opened.sendall(masked(_TEXT, text))


def new_ids(target: Target) -> None:
    """A bus of nothing but identifiers that nobody has seen."""
    chance, rows, start = np.random.default_rng(), 8192, os.urandom(8).hex()
    dongle = f"{target.agent_id}-0"
    control = connected(target.port, "/ws/agent", target.agent_token, masked(_TEXT, target.hello(1).encode()))
    lanes = encode_control_message(LanesHello(start, [LaneHello(dongle, "frames", 1)]))
    data = connected(target.port, "/ws/data", target.agent_token, masked(_TEXT, lanes.encode()))
    hop, beat_seconds = HopEncoder(), 0.0
    gap = encode_gap(PacketNumber(start, 1), Gap(GapReason.START, 1, None))
    data.sendall(masked(_BINARY, hop.encode(Envelope(0, RangeKind.LIVE, gap))))
    for seq in itertools.count(2):
        ids = chance.integers(0, 1 << 29, rows).astype(np.uint32)
        times, flags = np.full(rows, time.time_ns()), np.full(rows, int(FrameFlag.EXTENDED), np.uint8)
        batch = FrameBatch(times, ids, flags, np.full(rows, 8, np.uint8), np.zeros((rows, 8), np.uint8))
        packet = encode_frames(PacketNumber(start, seq), batch, 1000)
        data.sendall(masked(_BINARY, hop.encode(Envelope(0, RangeKind.LIVE, packet))))
        if select.select([data], [], [], 0)[0]:
            data.recv(1 << 16)
        if time.monotonic() > beat_seconds:
            beat_seconds = time.monotonic() + 5.0
            beat = Heartbeat(time.monotonic_ns(), time.time_ns(), True)
            control.sendall(masked(_TEXT, encode_control_message(beat).encode()))


ATTACKS: Final[Mapping[str, Callable[[Target], None]]] = {
    "inflate": inflate,
    "hold": hold,
    "bodies": bodies,
    "void_tokens": void_tokens,
    "downloads": downloads,
    "logs": logs,
    "new_ids": new_ids,
}


def main(arguments: list[str]) -> None:
    name, port, *rest = arguments
    os.nice(19)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 20_000), most))
    attack = {"idle": spin, **ATTACKS}[name]
    while True:
        # Whoever is refused or cut off comes again.
        with contextlib.suppress(OSError, SystemExit):
            attack(Target(int(port), *rest))
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1:])
