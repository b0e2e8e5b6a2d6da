"""Our recording against a row per frame in SQLite: CPU time per frame and bytes on disk.

    python bench/recording.py

Ours takes packets as ingest hands them over, through the recorder and its writer thread, until they are
acknowledged. The peer inserts rows, made beforehand, with executemany. Both commit a packet of 400 frames of
each of 16 dongles (what they send in 50 ms at 8,000 frames/s) at a time, in WAL mode with synchronous=FULL.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.packets import START_ID, demo_traffic
from bench.report import Comparison, compare, in_turn, show
from can_stream.frames.batches import FrameBatch
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import LaneHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Packet, encode_frames
from can_stream.text.frame_json import rows_of
from stream_server import clock
from stream_server.metrics import Metrics
from stream_server.recording.recorder import Recorder
from stream_server.storage.database import Database
from stream_server.storage.migrations import RECORDING, upgrade

DONGLES = 16
PACKET_FRAMES = 400
COMMITS = 50
FRAMES = COMMITS * DONGLES * PACKET_FRAMES
RUNS = 5


@dataclass(frozen=True)
class Result(Comparison):
    ours_bytes_per_frame: float
    peer_bytes_per_frame: float


@dataclass(frozen=True)
class Cost:
    cpu_seconds: float
    size_bytes: int


def batches() -> list[FrameBatch]:
    """One for each commit; all dongles send the same."""
    frames = demo_traffic(8_000)
    return [frames[at : at + PACKET_FRAMES] for at in range(0, COMMITS * PACKET_FRAMES, PACKET_FRAMES)]


async def record(path: Path, packets: list[tuple[Packet, bytes]]) -> float:
    """CPU seconds until the last of `packets`, which every dongle sends, is acknowledged."""
    upgrade(path, RECORDING)
    database = Database(path)
    recorder, acknowledged = Recorder(database, Metrics(), clock.monotonic_seconds), asyncio.Event()
    recorder.start()
    hellos = [LaneHello(f"dongle-{number}", "frames", 1) for number in range(DONGLES)]
    lanes = [
        (await recorder.open_lane(hello.dongle_id, hello, START_ID, acknowledged.set))[:2] for hello in hellos
    ]
    began = time.process_time()
    for packet, body in packets:
        acknowledged.clear()
        for lane, session in lanes:
            session.received(RangeKind.LIVE, packet)
            recorder.add_packet(lane, packet, body, RangeKind.LIVE)
        await acknowledged.wait()
        for _, session in lanes:
            assert [number for _, number in session.acks()] == [packet.number]
    took = time.process_time() - began
    await recorder.close()
    await database.close()
    return took


def insert_rows(path: Path, commits: list[list[list[tuple[Any, ...]]]]) -> float:
    """CPU seconds to insert the rows of every dongle and commit, for each of `commits`."""
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE frames (id INTEGER PRIMARY KEY, dongle INTEGER, ts_ns INTEGER, arbitration_id INTEGER,"
        " flags INTEGER, length INTEGER, data BLOB)"
    )
    began = time.process_time()
    for dongles in commits:
        for rows in dongles:
            connection.executemany(
                "INSERT INTO frames (dongle, ts_ns, arbitration_id, flags, length, data)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
        connection.commit()
    took = time.process_time() - began
    (count,) = connection.execute("SELECT count(*) FROM frames").fetchone()
    assert count == FRAMES
    connection.close()
    return took


def size_of(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.iterdir())


def cost(run: Callable[[Path], float]) -> Cost:
    with tempfile.TemporaryDirectory() as directory:
        return Cost(run(Path(directory) / "frames.sqlite"), size_of(Path(directory)))


def main() -> None:
    frames = batches()
    numbered = [Packet(PacketNumber(START_ID, seq), batch) for seq, batch in enumerate(frames, 1)]
    packets = [
        (one, encode_frames(one.number, batch, 1_000)) for one, batch in zip(numbered, frames, strict=True)
    ]
    commits = [[[(dongle, *row) for row in rows_of(batch)] for dongle in range(DONGLES)] for batch in frames]
    costs = in_turn(
        RUNS,
        lambda: cost(lambda path: asyncio.run(record(path, packets))),
        lambda: cost(lambda path: insert_rows(path, commits)),
    )
    seconds: list[tuple[float, ...]] = [(ours.cpu_seconds, peer.cpu_seconds) for ours, peer in costs]
    found = compare("a row per frame", "us of CPU per frame", seconds, FRAMES / 1e6)
    ours_bytes, peer_bytes = (one.size_bytes / FRAMES for one in costs[-1])
    show(Result(**asdict(found), ours_bytes_per_frame=ours_bytes, peer_bytes_per_frame=peer_bytes))


if __name__ == "__main__":
    main()
