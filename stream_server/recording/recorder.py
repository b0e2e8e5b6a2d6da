"""The recorder: packets of all lanes into storage, in groups, and only then acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from sqlalchemy import Connection

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.lanes.receiver import LaneConnection, LaneReceiver, Opening
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.control import LaneName
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import LaneHello
from can_stream.protocol.packets import (
    Body,
    Gap,
    Packet,
    encode_gap,
)
from stream_server import clock
from stream_server.errors import StorageError
from stream_server.metrics import Metrics
from stream_server.recording import clock_store, recording_store
from stream_server.recording.recording_store import LaneChange, StoredPacket
from stream_server.storage.database import Database

# Agents send a packet every 50 ms: one commit serves two of them, and one ack, which wakes the agent up.
FLUSH_SECONDS: Final = 0.06
RETRY_SECONDS: Final = 1.0
MAX_WAITING_BYTES: Final = 64_000_000
_DRAIN_SECONDS: Final = 5.0

Acknowledge = Callable[[], None]
_Waiting = tuple[Packet, StoredPacket]
_logger: Final = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Lane:
    """One lane in this process. `fault`: why its packets cannot be stored, until it is opened anew.

    `start_keys`: the storage keys of the starts that packets may come from. `clock`: the number of what its
    start said last of its clock before it was opened, and whether that was synchronised.
    """

    lane_id: int
    receiver: LaneReceiver = field(default_factory=LaneReceiver)
    start_keys: dict[str, int] = field(default_factory=dict)
    clock: tuple[int, bool] = (0, True)
    waiting: list[_Waiting] = field(default_factory=list)
    acknowledge: Acknowledge | None = None
    fault: str | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)


_Group = tuple[Lane, list[_Waiting]]


class Recorder:
    """Commits what data connections hand over, every 60 ms, and calls `Lane.acknowledge` after the commit.

    While storage refuses, packets wait (bounded) and nothing is acknowledged.
    """

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._lanes: dict[tuple[str, LaneName], Lane] = {}
        self._dirty: dict[Lane, None] = {}
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._flushed = asyncio.Condition()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.create_task(self._run(), name="recorder")

    async def close(self) -> None:
        """Commit what waits, then stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def open_lane(
        self,
        dongle_id: str,
        hello: LaneHello,
        start_id: str,
        acknowledge: Acknowledge,
        right_clock: ClockRecord | None = None,
    ) -> tuple[Lane, LaneConnection]:
        """A data connection opens a lane: its announcement is stored before this returns. StorageError.

        `right_clock`: the agent's, where its hello says that it is synchronised.
        """
        lane = await self._lane(dongle_id, hello.lane)
        async with lane.opening:
            await self._drain(lane)
            await self._load(lane, {start_id, *(listed.start_id for listed in hello.backlog)})

            def job(connection: Connection) -> tuple[Opening, dict[str, int], tuple[int, bool]]:
                opening = lane.receiver.opened(
                    hello, start_id, partial(recording_store.count_taken, connection, lane.lane_id)
                )
                keys = _store_opening(connection, lane, opening)
                if right_clock is not None:
                    clock_store.store_hello(connection, keys[start_id], right_clock)
                return opening, keys, clock_store.newest(connection, keys[start_id])

            opening, lane.start_keys, lane.clock = await self._database.write(job)
            lane.receiver.opening_stored(opening)
            lane.fault = None
            lane.acknowledge = acknowledge
        self._metrics.gaps.inc(len(opening.gone))
        return lane, LaneConnection(lane.receiver, hello, start_id)

    def add_packet(self, lane: Lane, packet: Packet, body: bytes, kind: RangeKind) -> None:
        """A new packet, to be stored with the next group. StorageError where the lane cannot be stored."""
        if lane.fault is not None:
            lane.receiver.dropped([packet])
            raise StorageError(lane.fault)
        stored = _stored(packet, body, is_backlog=kind is RangeKind.BACKLOG, received_ns=clock.wall_ns())
        lane.waiting.append((packet, stored))
        self._waiting_bytes += len(body)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._room.clear()
        self.wake(lane)

    def wake(self, lane: Lane) -> None:
        """Something of this lane can be acknowledged with the next group."""
        self._dirty[lane] = None
        self._wake.set()

    async def room(self) -> None:
        """Wait while too much is waiting for storage."""
        await self._room.wait()

    async def _lane(self, dongle_id: str, name: LaneName) -> Lane:
        lane_id = await self._database.write(lambda c: recording_store.lane_id_of(c, dongle_id, name))
        return self._lanes.setdefault((dongle_id, name), Lane(lane_id))

    async def _load(self, lane: Lane, start_ids: set[str]) -> None:
        """Keep in memory only the starts that this hello or a hole refers to, however many there were."""
        lane.receiver.taken, lane.receiver.holes = await self._database.read(
            lambda c: recording_store.load_lane(c, lane.lane_id, start_ids)
        )

    async def _drain(self, lane: Lane) -> None:
        """Wait until nothing of the lane is pending: the answer to hello must know it all."""
        try:
            async with asyncio.timeout(_DRAIN_SECONDS), self._flushed:
                await self._flushed.wait_for(lambda: not lane.receiver.pending)
        except TimeoutError:
            raise StorageError(self._database.fault or "earlier packets are not stored yet") from None

    async def _run(self) -> None:
        while self._dirty or not self._closing:
            await self._wake.wait()
            await asyncio.sleep(FLUSH_SECONDS)
            self._wake.clear()
            try:
                await self._flush()
            except StorageError:
                if self._closing:
                    return
                self._wake.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _flush(self) -> None:
        groups = [(lane, lane.waiting) for lane in self._dirty]
        self._dirty = {}
        for lane, _ in groups:
            lane.waiting = []
        try:
            stored = await self._store(groups)
        except StorageError:
            for lane, group in groups:
                lane.waiting = group + lane.waiting
                self._dirty[lane] = None
            raise
        self._committed(stored)
        async with self._flushed:
            self._flushed.notify_all()

    async def _store(self, groups: list[_Group]) -> list[_Group]:
        """Store all groups in one transaction; where that cannot be, those that can. StorageError."""
        changes = [_change(lane, group) for lane, group in groups if group]
        try:
            if changes:
                await self._database.write(lambda connection: recording_store.store(connection, changes))
        except StorageError:
            raise
        except Exception as error:
            if len(groups) > 1:
                # One lane's trouble must not stop the others.
                return [kept for group in groups for kept in await self._store([group])]
            self._give_up(*groups[0], error)
            return []
        return groups

    def _give_up(self, lane: Lane, group: list[_Waiting], error: Exception) -> None:
        _logger.error("lane %d: %d packets cannot be stored", lane.lane_id, len(group), exc_info=error)
        lane.fault = f"a packet cannot be stored: {type(error).__name__}"
        lane.receiver.dropped(packet for packet, _ in group)
        self._made_room(group)

    def _committed(self, groups: list[_Group]) -> None:
        for lane, group in groups:
            lane.receiver.committed([packet for packet, _ in group])
            self._made_room(group)
            if lane.acknowledge is not None:
                lane.acknowledge()
        self._count([packet.body for _, group in groups for packet, _ in group])

    def _count(self, bodies: list[Body]) -> None:
        gaps = sum(isinstance(body, Gap) for body in bodies)
        self._metrics.gaps.inc(gaps)
        self._metrics.packets_recorded.inc(len(bodies) - gaps)
        for kind, counter in (
            (FrameBatch, self._metrics.frames_recorded),
            (SignalBatch, self._metrics.values_recorded),
        ):
            counter.inc(sum(len(body) for body in bodies if isinstance(body, kind)))

    def _made_room(self, group: list[_Waiting]) -> None:
        self._waiting_bytes -= sum(len(stored.body) for _, stored in group)
        if self._waiting_bytes <= MAX_WAITING_BYTES:
            self._room.set()


def _change(lane: Lane, group: list[_Waiting]) -> LaneChange:
    packets = [packet for packet, _ in group]
    return LaneChange(
        lane.lane_id,
        lane.start_keys,
        [stored for _, stored in group],
        lane.receiver.progress(packets),
        lane.receiver.holes_after(packets) if lane.receiver.holes else None,
        clock.wall_ns(),
    )


def _store_opening(connection: Connection, lane: Lane, opening: Opening) -> dict[str, int]:
    now_ns = clock.wall_ns()
    recording_store.add_starts(connection, lane.lane_id, opening.starts)
    start_ids = {*opening.starts, *(packet.number.start_id for packet in opening.gone)}
    keys = recording_store.start_keys(connection, lane.lane_id, start_ids)
    gone = [
        _stored(packet, encode_gap(packet.number, packet.body), is_backlog=True, received_ns=now_ns)
        for packet in opening.gone
        if isinstance(packet.body, Gap)
    ]
    taken = lane.receiver.progress(opening.gone)
    recording_store.store(connection, [LaneChange(lane.lane_id, keys, gone, taken, opening.holes, now_ns)])
    return keys


def _stored(packet: Packet, body: bytes, *, is_backlog: bool, received_ns: int) -> StoredPacket:
    first_ns, last_ns = _span(packet.body, received_ns)
    return StoredPacket(
        packet.number.start_id,
        packet.number.seq,
        packet.first_seq,
        packet.kind,
        packet.frames,
        first_ns,
        last_ns,
        received_ns,
        is_backlog,
        body,
        packet.body if isinstance(packet.body, ClockRecord) else None,
    )


def _span(body: Body, unknown_ns: int) -> tuple[int, int]:
    if isinstance(body, ClockRecord):
        return unknown_ns, unknown_ns
    if isinstance(body, Gap):
        first_ns = unknown_ns if body.first_ns is None else body.first_ns
        return first_ns, first_ns if body.last_ns is None else body.last_ns
    return int(body.timestamp_ns.min()), int(body.timestamp_ns.max())
