"""Parts of a server without its sockets: storage with a fleet in it, and what agents send to them."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, delete, insert, select

from can_stream.frames.batches import FrameBatch, SignalBatch, batch_of
from can_stream.protocol.control import DongleInfo
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import (
    Gap,
    encode_frames,
    encode_gap,
    encode_signals,
)
from can_stream.protocol.registration import RegisterRequest
from stream_server import clock
from stream_server.access.machines import create_enrolment
from stream_server.agents.gap_telling import GapTelling
from stream_server.fleet import registry
from stream_server.fleet.fleet import Fleet
from stream_server.groups.activations import Activations
from stream_server.groups.groups import Groups
from stream_server.metrics import Metrics
from stream_server.recording import block_store
from stream_server.recording.recorder import Recorder
from stream_server.relay.relay import Relay
from stream_server.signals.last_value_store import LastValueStore
from stream_server.storage import migrations, recording_schema
from stream_server.storage.database import Database, T
from stream_server.streams.console import ConsoleStream, StreamLimits
from stream_server.streams.console_signals import FindTable, no_tables
from stream_server.streams.event_ids import IdSource
from stream_server.streams.hub import StreamHub
from tests.helpers.sse_streams import parse_events

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

    async def until_asked(self) -> None:
        """Somebody wants to write."""
        self.asked.clear()
        async with asyncio.timeout(10):
            await self.asked.wait()

    async def write_alone(self, run: Callable[[Connection], T]) -> T:
        """While the one other who writes waits: what shares a commit with a failing job can fail with it."""
        self.gate.clear()
        await self.until_asked()
        outcome = await super().write(run)
        self.gate.set()
        return outcome


class Watcher:
    """One who looks at a console: what it is told from here on, frames at once."""

    def __init__(self, stream: ConsoleStream) -> None:
        self._stream = stream
        stream.watched = True
        self._cursor = stream.open(None, 0, clock.now())
        self.told()

    def told(self, *kinds: str) -> list[dict[str, Any]]:
        """The payloads of the events since the last call: all, or of these kinds."""
        self._stream.tick(clock.now())
        while self._stream.is_behind:
            self._stream.catch_up(clock.now())
        events = parse_events(self._stream.read(self._cursor, 1 << 30))
        return [event.payload for event in events if not kinds or event.event in kinds]


class ServerParts:
    """What the application puts together, without HTTP, on storage that may hold what an earlier one left."""

    def __init__(self, database: Database, recording: Database, find_table: FindTable = no_tables) -> None:
        ids = IdSource(clock.now().wall_us)
        ids.reserved(ids.start + 3_600_000_000)
        self.database = database
        self.recording = recording
        self.metrics = Metrics()
        self.hub = StreamHub(ids, StreamLimits(max_frames_per_second=None), find_table)
        self.last_values = LastValueStore(database, recording)
        self.fleet = Fleet(database, self.hub, self.last_values)
        self.groups = Groups(database, self.hub)
        self.activations = Activations(database, self.fleet, self.groups)
        self.relay = Relay(recording, self.fleet, self.groups, self.activations)
        self.recorder = Recorder(recording, self.metrics, clock.monotonic_seconds)
        self.recorder.tell_gaps = GapTelling(self.fleet).tell

    async def start(self) -> ServerParts:
        """Read what is stored, and begin to record."""
        await self.last_values.load()
        await self.fleet.load()
        self.recorder.start()
        return self

    def watch(self, dongle_id: str) -> Watcher:
        """Somebody opens the console of a known dongle."""
        return Watcher(self.fleet.stream(dongle_id))

    def counted(self, name: str) -> float | None:
        """A counter of the metrics."""
        return self.metrics.registry.get_sample_value(f"stream_server_{name}_total")


@cache
def _empty_database(history: migrations.History) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "empty.sqlite3"
        migrations.upgrade(path, history)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("VACUUM")  # so that `fill` leaves no page
        return path.read_bytes()


def new_storage(directory: Path) -> Path:
    """A `server.sqlite3` of the present schema: to make one takes a hundred times as long as to copy it."""
    return _written(directory, migrations.SERVER)


def new_recording(directory: Path) -> Path:
    """A `recording.sqlite3` of the present schema."""
    return _written(directory, migrations.RECORDING)


def _written(directory: Path, history: migrations.History) -> Path:
    path = directory / f"{history.name}.sqlite3"
    path.write_bytes(_empty_database(history))
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


def frames_packet(seq: int, count: int = 1, start_id: str = START, position: int | None = None) -> bytes:
    """A packet of so many frames."""
    return encode_frames(PacketNumber(start_id, seq), frames(seq, count), 1000, position)


def values_packet(seq: int, *signals: int, start_id: str = START, table_hash: str = TABLE) -> bytes:
    """A packet of one value for each of these signals."""
    return encode_signals(PacketNumber(start_id, seq), values(seq, *signals, table_hash=table_hash), 1000)


def gap_packet(seq: int, gap: Gap, start_id: str = START, position: int | None = None) -> bytes:
    """A packet that says what is missing."""
    return encode_gap(PacketNumber(start_id, seq), gap, position)


def fill(connection: Connection) -> None:
    """The database can grow no more: what needs a new page is refused, as on a full disk."""
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


def empty(connection: Connection) -> None:
    """It can grow again."""
    connection.exec_driver_sql("PRAGMA max_page_count=1000000")


def obstruct(connection: Connection, seq: int) -> None:
    """What no rule of ours allows stands where packet `seq` of every known start must go."""
    row: dict[str, Any] = {"seq": seq, "first_seq": seq, "kind": 0, "received_ns": 0, "is_backlog": False}
    row |= {"first_ns": 0, "last_ns": 0, "size_bytes": 0, "body": b""}
    for start_pk in connection.execute(select(recording_schema.lane_starts.c.id)).scalars().all():
        connection.execute(insert(recording_schema.packets).values(start_pk=start_pk, **row))
        block_store.note(connection, [block_store.Noted(start_pk, seq, 0, 0, 0)])


def clear_away(connection: Connection) -> None:
    """It is gone again."""
    connection.execute(delete(recording_schema.packets).where(recording_schema.packets.c.size_bytes == 0))
