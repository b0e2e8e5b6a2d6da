"""Many agents into one server on one core: ours against JSON into a row per frame.

    python bench/ingest.py                      # the curve over agents, and shorter packets
    python bench/ingest.py --agents 1000 [--frames-per-second 500] [--flush-seconds 1] [--seconds 20]

Ours is `stream-server run`, and agents speak the real protocol. The peer is `sides/ingest_peer.py`. Each is
pinned to the first core, this process to the last. It sends what was encoded before, reads the acks, and
fails if a packet is not acknowledged or not in the recording. Sixteen different streams of packets are
shared out among the agents. Prints `name ratio ours peer` (CPU time of the server per frame) and JSON.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import select
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from bench.log_parse import candump_log, read_ours
from bench.report import Comparison, show
from can_stream.frames.batches import FrameBatch, id_text
from can_stream.protocol.control import (
    DongleInfo,
    Heartbeat,
    Hello,
    encode_control_message,
)
from can_stream.protocol.hop import Envelope, HopEncoder, RangeKind, decode_ack
from can_stream.protocol.lanes_control import LaneHello, LanesHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import (
    Gap,
    GapReason,
    encode_frames,
    encode_gap,
)
from can_stream.text.frame_json import rows_of
from tests.helpers.agents import registered_agents
from tests.helpers.processes import StreamServer
from tests.helpers.shared_data import KONA

REQUIRED_RATIO: Final = 2.5
START_IDS: Final = [f"{number:016x}" for number in range(1, 17)]
STREAMS: Final = len(START_IDS)
HEARTBEAT_SECONDS: Final = 20.0
PEER_AGENTS: Final = 50  # it cannot keep up with many
# (agents, seconds in a packet)
LOADS: Final = ((1, 1.0), (10, 1.0), (100, 1.0), (120, 0.05), (400, 0.25), (1000, 1.0))
_TEXT, _BINARY = 0x81, 0x82
_MASK: Final = bytes((0x5A, 0x0F, 0xC3, 0x99))
_ACK_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Load:
    """What is sent."""

    agents: int
    frames_per_second: int
    flush_seconds: float
    seconds: float

    @property
    def frames_per_packet(self) -> int:
        return max(1, round(self.frames_per_second * self.flush_seconds))

    @property
    def packets(self) -> int:
        """Packets of frames of each agent."""
        return max(1, round(self.seconds / self.flush_seconds))

    @property
    def frames(self) -> int:
        return self.agents * self.packets * self.frames_per_packet


@dataclass(frozen=True)
class Row:
    """What one run costs the server."""

    server: str
    agents: int
    flush_seconds: float
    frames_per_second: int
    cpu_percent: float
    cpu_us_per_frame: float
    cpu_us_per_packet: float
    bytes_per_agent_and_second: int
    idle_kb_per_agent: float
    kb_per_agent: float
    ack_ms_p50: float
    ack_ms_p99: float


class Client:
    """One agent's data connection. `messages` are sent in order; an ack names how many are stored."""

    def __init__(self, connection: socket.socket, messages: Sequence[bytes]) -> None:
        self.connection = connection
        self.messages = messages
        self.acked = 0
        self.sent_at: list[float] = []
        self._received = b""

    def send(self) -> None:
        """The next message, now."""
        self.connection.sendall(self.messages[len(self.sent_at)])
        self.sent_at.append(time.monotonic())

    def read_acks(self, number: Callable[[bytes], int]) -> list[float]:
        """How long each message that is acknowledged now was on its way."""
        data = self._received + self.connection.recv(65_536, socket.MSG_DONTWAIT)
        if data == self._received:
            raise SystemExit("the server closed a connection")
        while len(data) >= 2 and len(data) >= 2 + data[1]:
            payload, opcode = data[2 : 2 + data[1]], data[0] & 0x0F
            data = data[2 + len(payload) :]
            if opcode == 0x8:
                raise SystemExit(f"the server closed a connection: {payload!r}")
            through = number(payload)
        self._received = data
        now = time.monotonic()
        delays = [now - at for at in self.sent_at[self.acked : through]]
        self.acked = through
        return delays


def masked(opcode: int, payload: bytes) -> bytes:
    """A client's WebSocket frame (RFC 6455, section 5.2)."""
    size = len(payload)
    length = b"\xff" + size.to_bytes(8, "big")
    if size < 65_536:
        length = b"\xfe" + size.to_bytes(2, "big") if size > 125 else bytes((0x80 | size,))
    key = np.resize(np.frombuffer(_MASK, np.uint8), size)
    return bytes((opcode,)) + length + _MASK + (np.frombuffer(payload, np.uint8) ^ key).tobytes()


def connected(port: int, path: str, token: str, first: bytes) -> socket.socket:
    """A WebSocket whose first message was answered."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=_ACK_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    if b" 101 " not in head.split(b"\r\n", 1)[0]:
        raise SystemExit(f"{path}: {head!r}")
    connection.sendall(first)
    if not connection.recv(65_536)[:1] == bytes((_TEXT,)):
        raise SystemExit(f"{path}: the first message was not answered")
    return connection


def traffic(frames: int, frames_per_second: int) -> FrameBatch:
    """Frames of the Kona log, or of a generated one, over and over at the rate asked for."""
    with tempfile.TemporaryDirectory() as folder:
        log = KONA if KONA.exists() else candump_log(Path(folder) / "generated.log")
        once = read_ours(log)
    batch = once[np.arange(frames) % len(once)]
    jitter = np.random.default_rng(1).integers(0, 200, frames) * 1000
    times = once.timestamp_ns[0] + np.arange(frames) * 10**9 // frames_per_second + jitter
    return FrameBatch(times, batch.arbitration_id, batch.flags, batch.length, batch.data)


def packets_of(batch: FrameBatch, load: Load, stream: int) -> Iterator[FrameBatch]:
    """The batches of one stream, each beginning elsewhere in the traffic."""
    rows = np.arange(load.frames_per_packet)
    for number in range(load.packets):
        yield batch[(rows + number * len(rows) + stream * 977) % len(batch)]


def our_messages(batch: FrameBatch, load: Load, stream: int) -> list[bytes]:
    """A whole data connection of one agent, from its gap of reason agent_start on."""
    hop, start_id = HopEncoder(), START_IDS[stream]
    gap = encode_gap(PacketNumber(start_id, 1), Gap(GapReason.START, 1, None))
    parts = enumerate(packets_of(batch, load, stream), start=2)
    packets = [gap, *(encode_frames(PacketNumber(start_id, seq), part, 1000) for seq, part in parts)]
    return [masked(_BINARY, hop.encode(Envelope(0, RangeKind.LIVE, packet))) for packet in packets]


def peer_messages(batch: FrameBatch, load: Load, stream: int) -> list[bytes]:
    return [masked(_TEXT, b"[]")] + [
        masked(_TEXT, json.dumps([_json_frame(row) for row in rows_of(part)]).encode())
        for part in packets_of(batch, load, stream)
    ]


def _json_frame(row: tuple[int, int, int, int, bytes]) -> dict[str, object]:
    return {"ts": row[0] / 1e9, "id": id_text(row[1], extended=bool(row[2] & 1)), "data": row[4].hex()}


@contextmanager
def cores_apart() -> Iterator[Callable[[], None]]:
    """Processes started now stay on the first core; what is given moves this one to the last."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    try:
        yield lambda: os.sched_setaffinity(0, cores[-1:])
    finally:
        os.sched_setaffinity(0, cores)


def open_ours(server: StreamServer, load: Load, directory: Path) -> tuple[list[Client], list[socket.socket]]:
    """All data connections, and the control connections beside them."""
    batch = traffic(load.frames_per_packet * 64, load.frames_per_second)
    streams = [our_messages(batch, load, stream) for stream in range(min(STREAMS, load.agents))]
    names = [f"agent{number:04d}" for number in range(load.agents)]
    clients, controls = [], []
    for number, agent in enumerate(registered_agents(server, names, directory)):
        stream, token = number % STREAMS, agent.token_file.read_text().strip()
        dongle = DongleInfo(f"{agent.agent_id}-can0", "socketcan", "can0")
        clocks = (time.monotonic_ns(), time.time_ns(), True)
        hello = Hello(agent.agent_id, START_IDS[stream], "boot", *clocks, "bench", [dongle])
        lanes = LanesHello(START_IDS[stream], [LaneHello(dongle.dongle_id, "frames", 1)])
        controls.append(connected(server.port, "/ws/agent", token, _message(hello)))
        data = connected(server.port, "/ws/data", token, _message(lanes))
        clients.append(Client(data, streams[stream]))
    return clients, controls


def _message(message: Hello | Heartbeat | LanesHello) -> bytes:
    return masked(_TEXT, encode_control_message(message).encode())


def play(
    clients: Sequence[Client],
    controls: Sequence[socket.socket],
    flush_seconds: float,
    number: Callable[[bytes], int],
) -> list[float]:
    """Send all messages at their times; the delay of each until its ack."""
    poll = select.epoll()
    by_descriptor = {client.connection.fileno(): client for client in clients}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    turns = itertools.chain.from_iterable(itertools.repeat(clients, len(clients[0].messages)))
    heartbeats = itertools.cycle(controls)
    begin, step, beat = time.monotonic(), flush_seconds / len(clients), 0
    delays: list[float] = []
    waiting, sent, client = len(clients) * len(clients[0].messages), 0, next(turns, None)
    while waiting:
        now = time.monotonic()
        while client is not None and begin + sent * step <= now:
            client.send()
            sent, client = sent + 1, next(turns, None)
        while controls and begin + (beat + 1) * HEARTBEAT_SECONDS / len(controls) <= now:
            next(heartbeats).sendall(_message(Heartbeat(time.monotonic_ns(), time.time_ns(), True)))
            beat += 1
        pause = max(0.002, begin + sent * step - now) if client is not None else _ACK_SECONDS
        ready = poll.poll(pause)
        if not ready and client is None:
            raise SystemExit(f"{waiting} messages were not acknowledged")
        for descriptor, _ in ready:
            acked = by_descriptor[descriptor].read_acks(number)
            delays += acked
            waiting -= len(acked)
    return delays


def measure_ours(load: Load) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with cores_apart() as move_away, StreamServer(directory / "data") as server:
            move_away()
            pid, token = server.process.pid, server.create_token("viewer")
            empty = resident_kb(pid)
            clients, controls = open_ours(server, load, directory)
            row = measured(
                "ours", load, pid, empty, clients, controls, lambda ack: decode_ack(ack).number.seq
            )
            check_recording(server, token, load)
            for connection in [*controls, *(client.connection for client in clients)]:
                connection.close()
    return row


def measured(
    name: str,
    load: Load,
    pid: int,
    empty_kb: int,
    clients: Sequence[Client],
    controls: Sequence[socket.socket],
    number: Callable[[bytes], int],
) -> Row:
    idle_kb = resident_kb(pid) - empty_kb
    cpu, begin = cpu_seconds(pid), time.monotonic()
    delays = play(clients, controls, load.flush_seconds, number)
    cpu, elapsed = cpu_seconds(pid) - cpu, time.monotonic() - begin
    cuts = statistics.quantiles(delays, n=100)
    size = sum(map(len, clients[0].messages))
    return Row(
        server=name,
        agents=load.agents,
        flush_seconds=load.flush_seconds,
        frames_per_second=round(load.frames / elapsed),
        cpu_percent=round(100 * cpu / elapsed, 1),
        cpu_us_per_frame=round(1e6 * cpu / load.frames, 3),
        cpu_us_per_packet=round(1e6 * cpu / (load.agents * load.packets)),
        bytes_per_agent_and_second=round(size / load.packets / load.flush_seconds),
        idle_kb_per_agent=round(idle_kb / load.agents, 1),
        kb_per_agent=round((resident_kb(pid) - empty_kb) / load.agents, 1),
        ack_ms_p50=round(1000 * cuts[49], 1),
        ack_ms_p99=round(1000 * cuts[98], 1),
    )


def check_recording(server: StreamServer, token: str, load: Load) -> None:
    """Everything is in the recording, and the only gaps are those of the agents' starts."""
    expected = (load.packets, load.packets * load.frames_per_packet)
    dongles = server.read_json("/api/v1/dongles", token)["dongles"]
    recorded = [(each["recording"]["packets"], each["recording"]["frames"]) for each in dongles]
    assert recorded == [expected] * load.agents, (expected, set(recorded))
    gaps = f"stream_server_gaps_total {float(load.agents)}"
    assert gaps in server.read("/metrics", token).decode().splitlines(), (
        "there are other gaps than agent_start"
    )


def measure_peer(load: Load) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.db"
        command = [sys.executable, str(Path(__file__).with_name("sides") / "ingest_peer.py"), str(path)]
        with (
            cores_apart() as move_away,
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        ):
            try:
                assert process.stdout is not None
                port = int(process.stdout.readline())
                move_away()
                empty_kb = resident_kb(process.pid)
                row = measured("peer", load, process.pid, empty_kb, *open_peer(port, load), int)
            finally:
                process.kill()
        rows = sqlite3.connect(path).execute("SELECT count(*) FROM frames").fetchone()[0]
        assert rows == load.frames, (rows, load.frames)
    return row


def open_peer(port: int, load: Load) -> tuple[list[Client], list[socket.socket]]:
    batch = traffic(load.frames_per_packet * 64, load.frames_per_second)
    streams = [peer_messages(batch, load, stream) for stream in range(min(STREAMS, load.agents))]
    clients = []
    for number in range(load.agents):
        connection = connected(port, f"/?agent={number}", "", masked(_TEXT, b'"hello"'))
        clients.append(Client(connection, streams[number % STREAMS]))
    return clients, []


def resident_kb(pid: int) -> int:
    """VmRSS of proc(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compared(loads: Sequence[Load], peer_load: Load) -> Comparison:
    """CPU time per frame of the last load and the peer's; prints a row for each load."""
    for load in loads:
        show(ours := measure_ours(load))
    show(peer := measure_peer(peer_load))
    name = f"{ours.agents} agents, packets of {ours.flush_seconds:g} s"
    per_frame = ours.cpu_us_per_frame, peer.cpu_us_per_frame
    return Comparison(name, per_frame[1] / per_frame[0], *per_frame, "us of CPU per frame")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--agents", type=int)
    parser.add_argument("--frames-per-second", type=int, default=500)
    parser.add_argument("--flush-seconds", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    rate, seconds = options.frames_per_second, options.seconds
    chosen = ((options.agents, options.flush_seconds),) if options.agents else LOADS
    loads = [Load(agents, rate, flush_seconds, seconds / 2) for agents, flush_seconds in chosen]
    loads[-1] = replace(loads[-1], seconds=seconds)
    peer_load = Load(min(PEER_AGENTS, loads[-1].agents), rate, loads[-1].flush_seconds, seconds)
    result = compared(loads, peer_load)
    show(result)
    return 0 if result.ratio >= REQUIRED_RATIO else 1


if __name__ == "__main__":
    raise SystemExit(main())
