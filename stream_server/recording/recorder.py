"""The recorder: packets of all lanes into storage, in groups, and only then acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from sqlalchemy import Connection

from can_stream.lanes.holdings import NewGap
from can_stream.lanes.opening import Opening
from can_stream.lanes.receiver import LaneConnection, LaneReceiver
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.control import LaneName
from can_stream.protocol.errors import SessionError
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import LaneHello
from can_stream.protocol.marker import Marker
from can_stream.protocol.packet_head import PacketKind
from can_stream.protocol.packets import Body, Gap, Packet
from stream_server import clock
from stream_server.errors import StorageError
from stream_server.metrics import Metrics
from stream_server.recording import clock_store, openings, recording_store, retention_store, start_store
from stream_server.recording.gap_news import GapNews
from stream_server.recording.recording_store import LaneChange, StoredPacket
from stream_server.recording.retention_store import Forgotten
from stream_server.storage.database import Database

# Agents send a packet every 50 ms: one commit serves two of them, and one ack, which wakes the agent up.
FLUSH_SECONDS: Final = 0.06
RETRY_SECONDS: Final = 1.0
MAX_WAITING_BYTES: Final = 64_000_000
_HELD_FACTOR: Final = 3
_DRAIN_SECONDS: Final = 5.0

Acknowledge = Callable[[], None]
_Waiting = tuple[Packet, StoredPacket]
Statements: TypeAlias = Callable[[Connection], None]
Part: TypeAlias = Callable[[Sequence[LaneChange]], Statements | None]
"""What else belongs into the ack's one transaction: from what is being stored to its statements."""
PARTS: Final[tuple[Part, ...]] = (clock_store.prepare,)
_logger: Final = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Lane:
    """One lane in this process. `fault`: why its packets cannot be stored, until it is opened anew.

    `start_keys`: the storage keys of the starts that packets may come from. `clock`: the number of what its
    start said last of its clock before it was opened, and whether that was synchronised.
    """

    lane_id: int
    dongle_id: str
    name: LaneName
    receiver: LaneReceiver = field(default_factory=LaneReceiver)
    start_keys: dict[str, int] = field(default_factory=dict)
    clock: tuple[int, bool] = (0, True)
    waiting: list[_Waiting] = field(default_factory=list)
    acknowledge: Acknowledge | None = None
    fault: str | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)


_Group = tuple[Lane, list[_Waiting]]
TellGaps: TypeAlias = Callable[[str, LaneName, Sequence[GapNews]], None]
"""(dongle_id, lane, gaps as they are from now on)"""


def _nobody_is_told(_dongle_id: str, _lane: LaneName, _news: Sequence[GapNews]) -> None:
    """Until somebody shows gaps."""


def _nothing_follows() -> None:
    """Until something does."""


def _nobody_counts(_dongle_id: str, _gaps: Sequence[NewGap]) -> None:
    """Until somebody does."""


class Recorder:
    """Commits what data connections hand over, every 60 ms, and calls `Lane.acknowledge` after the commit.

    While storage refuses, packets wait (bounded) and nothing is acknowledged. `running_seconds`: how long the
    server has run, over all its starts. `tell_gaps` is called when gaps are recorded or have shrunk,
    `on_stored` behind each commit that the parts took part in, while `commits` is held; `on_given_up` with a
    dongle and holes of its frames lane that are gaps from now on.
    """

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        running_seconds: Callable[[], float],
        parts: Sequence[Part] = PARTS,
    ) -> None:
        self.tell_gaps: TellGaps = _nobody_is_told
        self.on_stored: Callable[[], None] = _nothing_follows
        self.on_given_up: Callable[[str, Sequence[NewGap]], None] = _nobody_counts
        self._database = database
        self._metrics = metrics
        self._running_seconds = running_seconds
        self._parts = parts
        self._lanes: dict[tuple[str, LaneName], Lane] = {}
        self._dirty: dict[Lane, None] = {}
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._flushed = asyncio.Condition()
        self.commits: Final = asyncio.Lock()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def held_bytes(self) -> int:
        """About what the packets take that wait for storage, with what is decoded of them."""
        return self._waiting_bytes * _HELD_FACTOR

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
    ) -> tuple[Lane, LaneConnection, Opening]:
        """A data connection opens a lane: its announcement is stored before this returns.

        `right_clock`: the agent's, where its hello says that it is synchronised. StorageError, SessionError.
        """
        lane = await self._lane(dongle_id, hello.lane)
        async with lane.opening:
            await self._drain(lane)
            said = openings.Said(lane.lane_id, hello, start_id, right_clock, self._running_seconds())
            opened = await self._database.write(lambda connection: openings.store(connection, said))
            lane.receiver.starts, lane.start_keys = opened.opening.starts, opened.start_keys
            lane.clock = opened.clock
            lane.fault = None
            lane.acknowledge = acknowledge
        self._tell(lane, opened.news)
        return lane, LaneConnection(lane.receiver, hello, start_id), opened.opening

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

    async def give_up_holes(self, lane_key: tuple[str, LaneName], listed_before_seconds: float) -> int | None:
        """Holes of a lane that no hello has listed since then become gaps. How many frames these are.

        None while the lane is being opened: ask again later. StorageError.
        """
        lane = await self._lane(*lane_key)
        if lane.opening.locked():
            return None
        async with lane.opening, self.commits:
            gone = await self._database.write(
                lambda connection: openings.give_up(connection, lane.lane_id, listed_before_seconds)
            )
            lane.receiver.starts.update(
                {one: start for one, start in gone.starts.items() if one in lane.receiver.starts}
            )
        if lane.name == "frames":
            self.on_given_up(lane.dongle_id, gone.gaps)
        self._tell(lane, gone.news)
        return sum(news.frames or 0 for news in gone.news)

    async def forget(self, lane_key: tuple[str, LaneName]) -> Forgotten:
        """Of a lane that has too many starts or gaps the oldest are forgotten, but for starts that its agent
        has named last; none while the lane is being opened. StorageError."""
        lane = await self._lane(*lane_key)
        total = Forgotten()
        while not lane.opening.locked():
            async with lane.opening, self.commits:
                job = partial(
                    retention_store.forget, lane_id=lane.lane_id, keep=list(lane.start_keys.values())
                )
                gone = await self._database.write(job)
            total = Forgotten(total.starts + gone.starts, total.gaps + gone.gaps)
            if not any(gone):
                break
        return total

    async def _lane(self, dongle_id: str, name: LaneName) -> Lane:
        known = self._lanes.get((dongle_id, name))
        if known is not None:
            return known
        lane_id = await self._database.write(lambda c: start_store.lane_id_of(c, dongle_id, name))
        return self._lanes.setdefault((dongle_id, name), Lane(lane_id, dongle_id, name))

    def _tell(self, lane: Lane, news: Sequence[GapNews]) -> None:
        if news:
            self._metrics.gaps.inc(sum(one.is_new for one in news))
            self.tell_gaps(lane.dongle_id, lane.name, news)

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
                async with self.commits:
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
        for lane, group in stored:
            self._made_room(group)
            if lane.acknowledge is not None:
                lane.acknowledge()
        async with self._flushed:
            self._flushed.notify_all()

    async def _store(self, groups: list[_Group]) -> list[_Group]:
        """Store all groups in one transaction; where that cannot be, those that can. StorageError."""
        try:
            await self._store_together([(lane, group) for lane, group in groups if group])
        except StorageError:
            raise
        except Exception as error:
            if len(groups) > 1:
                # One lane's trouble must not stop the others.
                return [kept for group in groups for kept in await self._store([group])]
            self._give_up(*groups[0], error)
            return []
        return groups

    async def _store_together(self, groups: list[_Group]) -> None:
        if not groups:
            return
        now_seconds = self._running_seconds()
        changes = [_change(lane, group, now_seconds) for lane, group in groups]
        also = [statements for part in self._parts if (statements := part(changes)) is not None]

        def transaction(connection: Connection) -> list[list[GapNews]]:
            news = recording_store.store(connection, changes)
            for statements in also:
                statements(connection)
            return news

        news = await self._database.write(transaction)
        self.on_stored()
        self._count([row for change in changes for row in change.stored])
        for (lane, group), change, told in zip(groups, changes, news, strict=True):
            lane.receiver.committed([packet for packet, _ in group], change.change)
            self._tell(lane, told)

    def _give_up(self, lane: Lane, group: list[_Waiting], error: Exception) -> None:
        _logger.error("lane %d: %d packets cannot be stored", lane.lane_id, len(group), exc_info=error)
        why = str(error) if isinstance(error, SessionError) else type(error).__name__
        lane.fault = f"a packet cannot be stored: {why}"
        lane.receiver.dropped(packet for packet, _ in group)
        self._made_room(group)

    def _count(self, stored: Sequence[StoredPacket]) -> None:
        self._metrics.packets_recorded.inc(len(stored))
        for kind, counter in (
            (PacketKind.FRAMES, self._metrics.frames_recorded),
            (PacketKind.SIGNALS, self._metrics.values_recorded),
        ):
            counter.inc(sum(row.frames for row in stored if row.kind is kind))

    def _made_room(self, group: list[_Waiting]) -> None:
        self._waiting_bytes -= sum(len(stored.body) for _, stored in group)
        if self._waiting_bytes <= MAX_WAITING_BYTES:
            self._room.set()


def _change(lane: Lane, group: list[_Waiting], now_seconds: float) -> LaneChange:
    change = lane.receiver.change([packet for packet, _ in group], now_seconds)
    stored = [
        row
        for (packet, row), is_new in zip(group, change.accepted, strict=True)
        if is_new and not isinstance(packet.body, Gap)
    ]
    starts = lane.receiver.starts
    return LaneChange(
        lane.lane_id, lane.start_keys, stored, starts, change, clock.wall_ns(), lane.dongle_id, lane.name
    )


def _stored(packet: Packet, body: bytes, *, is_backlog: bool, received_ns: int) -> StoredPacket:
    first_ns, last_ns = _span(packet.body, received_ns)
    return StoredPacket(
        packet.number.start_id,
        packet.number.seq,
        packet.kind,
        packet.frames or 0,
        first_ns,
        last_ns,
        received_ns,
        is_backlog,
        body,
        packet.position,
        packet.body if isinstance(packet.body, ClockRecord) else None,
    )


def _span(body: Body, unknown_ns: int) -> tuple[int, int]:
    if isinstance(body, ClockRecord | Gap | Marker):
        return unknown_ns, unknown_ns
    return int(body.timestamp_ns.min()), int(body.timestamp_ns.max())
