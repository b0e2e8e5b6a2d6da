"""Parts of a server without its sockets: storage with a fleet in it, and what agents send to them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection

from can_stream.frames.batches import FrameBatch, SignalBatch, batch_of
from can_stream.protocol.control import DongleInfo
from can_stream.protocol.packets import Gap, PacketNumber, encode_frames, encode_gap, encode_signals
from can_stream.protocol.registration import RegisterRequest
from stream_server.access.credentials import create_enrolment
from stream_server.fleet import registry
from stream_server.storage import migrations
from stream_server.storage.database import Database, T

START: Final = "00000000000000a1"
OTHER_START: Final = "00000000000000b2"
TABLE: Final = "a" * 32
FIRST_NS: Final = 1_766_417_462_000_000_000


class GatedDatabase(Database):
    """Real storage, whose writes wait while `gate` is closed: a slow disk. `asked`: one has come to it."""

    def __init__(self, path: Path, on_commit: Callable[[float, int], None] | None = None) -> None:
        super().__init__(path, on_commit)
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def write(self, run: Callable[[Connection], T]) -> T:
        self.asked.set()
        await self.gate.wait()
        return await super().write(run)


@cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "empty.sqlite3"
        migrations.upgrade(path)
        return path.read_bytes()


def new_storage(directory: Path) -> Path:
    """A database file of the present schema: to make one takes a hundred times as long as to copy it."""
    path = directory / "server.sqlite3"
    path.write_bytes(_empty_database())
    return path


async def enrol(database: Database, agent_id: str, *dongle_ids: str) -> None:
    """A registered agent that has listed these dongles."""

    def job(connection: Connection) -> None:
        token = create_enrolment(connection, None, 1, 0, "test")
        registry.register(connection, RegisterRequest(token, agent_id), 0, None)
        registry.list_dongles(connection, agent_id, [dongle(one) for one in dongle_ids], 0, None)

    await database.write(job)


def dongle(dongle_id: str, **more: Any) -> DongleInfo:
    """A dongle as its agent lists it."""
    return DongleInfo(dongle_id, "socketcan", "can0", **more)


def frames(number: int, count: int = 1, size: int = 8) -> FrameBatch:
    """Frames whose first byte and whose time say which packet they came in: a millisecond for each number."""
    start_ns = FIRST_NS + number * 1_000_000
    return batch_of(
        (start_ns + i * 1000, 0x100 + i % 0x100, 0, size, bytes([number] * size)) for i in range(count)
    )


def values(number: int, *signals: int, table_hash: str = TABLE) -> SignalBatch:
    """One value of each signal, which is the packet's number."""
    count = len(signals)
    return SignalBatch(
        bytes.fromhex(table_hash),
        np.full(count, FIRST_NS + number * 1_000_000, np.int64),
        np.array(signals, np.uint32),
        np.full(count, 2, np.uint8),
        np.full(count, number, np.uint64),
    )


def frames_packet(seq: int, count: int = 1, start_id: str = START) -> bytes:
    """A packet of so many frames."""
    return encode_frames(PacketNumber(start_id, seq), frames(seq, count), 1000)


def values_packet(seq: int, *signals: int, start_id: str = START, table_hash: str = TABLE) -> bytes:
    """A packet of one value for each of these signals."""
    return encode_signals(PacketNumber(start_id, seq), values(seq, *signals, table_hash=table_hash), 1000)


def gap_packet(seq: int, gap: Gap, start_id: str = START) -> bytes:
    """A packet that says what is missing."""
    return encode_gap(PacketNumber(start_id, seq), gap)


def fill(connection: Connection) -> None:
    """The database can grow no more: what needs a new page is refused, as on a full disk."""
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


def empty(connection: Connection) -> None:
    """It can grow again."""
    connection.exec_driver_sql("PRAGMA max_page_count=1000000")
