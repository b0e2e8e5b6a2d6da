"""Keeps the recording within its bounds: the oldest packets go, counted, of whoever takes too much."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import Connection

from can_stream.protocol.packet_head import PacketNumber
from can_stream.wall_clock import is_synchronised
from stream_server import clock
from stream_server.config import RecordingSection
from stream_server.errors import StorageError
from stream_server.metrics import Metrics
from stream_server.recording import age_store, retention_store
from stream_server.recording.known_time import JUMP_NS, KnownTime, Reading, advance, confirm
from stream_server.recording.retention_store import (
    Deleted,
    delete_oldest,
    delete_oldest_of,
    starts_with_packets,
)
from stream_server.shares import surpluses
from stream_server.storage.database import Database

PERIOD_SECONDS: Final = 10.0
_MARKS: Final = 1000
_HOUR_SECONDS: Final = 3600.0
_logger: Final = logging.getLogger(__name__)

Announce = Callable[[str, float], Awaitable[None]]
"""(what has happened to the clock, by how many seconds it has jumped): for the audit."""

OnDeleted = Callable[[str, Sequence[PacketNumber]], None]
"""(a dongle, numbers of its packets of frames that have gone): for those who point to them."""


def reading() -> Reading:
    """What this machine's clocks say."""
    return Reading(clock.boot_id(), clock.monotonic_ns(), clock.wall_ns(), is_synchronised())


class _Look(NamedTuple):
    before: KnownTime
    after: KnownTime
    through_id: int


class Retention:
    """Deletes what is too old or too much, in small transactions, so that new packets never wait long.

    `jump_seconds`: how far the wall clock is from where it should be, 0 where it has not jumped. As long as
    it is not 0 nothing is deleted for its age. `owner_of`: the agent of a dongle.
    """

    def __init__(
        self,
        database: Database,
        limits: RecordingSection,
        metrics: Metrics,
        announce: Announce,
        owner_of: Callable[[str], str] = str,
    ) -> None:
        self.jump_seconds = 0.0
        self._database = database
        self._limits = limits
        self._metrics = metrics
        self._announce = announce
        self._owner_of = owner_of
        self.on_deleted: OnDeleted | None = None

    @property
    def warning(self) -> str | None:
        """What an operator should know, None for nothing."""
        if not self.jump_seconds:
            return None
        ahead = "ahead" if self.jump_seconds > 0 else "back"
        return (
            f"the server's clock has jumped {ahead} by {abs(self.jump_seconds) / _HOUR_SECONDS:.1f} hours: "
            "nothing is deleted by age until it is back, a time service has kept it for ten minutes, or "
            "`stream-server clock confirm` says that it is right"
        )

    async def run(self) -> None:
        """Apply the bounds every ten seconds until cancelled."""
        while True:
            try:
                await self.apply(reading())
            except StorageError as error:
                _logger.warning("retention waits: %s", error)
            await asyncio.sleep(PERIOD_SECONDS)

    async def apply(self, now: Reading) -> int:
        """Delete what is due now; returns how many frames went."""
        look = await self._database.write(partial(self._look, now=now))
        await self._tell(look)
        through_id = look.through_id
        frames = 0
        while (gone := await self._delete(partial(delete_oldest, through_id=through_id))).packets:
            frames += gone.frames
        if through_id:
            await self._database.write(partial(age_store.forget, through_id=through_id))
        return frames + await self._apply_shares()

    async def _apply_shares(self) -> int:
        """Delete the oldest packets of those who take too much; returns how many frames went."""
        sizes: defaultdict[str, int] = defaultdict(int)
        lanes: defaultdict[str, list[int]] = defaultdict(list)
        for lane_id, dongle_id, size in await self._database.read(retention_store.taken):
            owner = self._owner_of(dongle_id)
            sizes[owner] += size
            lanes[owner].append(lane_id)
        limits, frames = self._limits, 0
        for owner, surplus in surpluses(sizes, limits.max_bytes, limits.max_bytes_per_agent).items():
            starts = await self._database.read(partial(starts_with_packets, lane_ids=lanes[owner]))
            left = surplus
            while (
                gone := await self._delete(partial(delete_oldest_of, start_pks=starts, surplus_bytes=left))
            ).packets:
                left -= gone.size_bytes
                frames += gone.frames
        return frames

    async def _delete(self, job: Callable[[Connection], Deleted]) -> Deleted:
        gone = await self._database.write(job)
        self._metrics.retention_packets.inc(gone.packets)
        self._metrics.retention_frames.inc(gone.frames)
        if self.on_deleted is not None:
            for dongle_id, numbers in gone.numbers.items():
                self.on_deleted(dongle_id, numbers)
        return gone

    def _look(self, connection: Connection, now: Reading) -> _Look:
        before = age_store.load(connection, now)
        confirmed_ns = age_store.take_confirmation(connection)
        # A word about another time says nothing of this one.
        is_meant = confirmed_ns is not None and abs(now.wall_ns - confirmed_ns) < JUMP_NS
        after = confirm(before, now) if is_meant else advance(before, now)
        age_store.store(connection, after)
        age_ns = int(self._limits.max_age_seconds * 1e9)
        age_store.mark(connection, after.known_ns, age_ns / _MARKS)
        through_id = 0 if after.jump_ns else age_store.older_than(connection, after.known_ns - age_ns)
        return _Look(before, after, through_id)

    async def _tell(self, look: _Look) -> None:
        self.jump_seconds = look.after.jump_ns / 1e9
        if look.after.jump_ns and not look.before.jump_ns:
            _logger.warning("%s", self.warning)
            await self._announce("clock.jumped", self.jump_seconds)
        elif look.before.jump_ns and not look.after.jump_ns:
            _logger.warning("the server's clock counts again: what is too old is deleted")
            await self._announce("clock.settled", look.before.jump_ns / 1e9)
