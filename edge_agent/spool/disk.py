"""The spool's file in a thread of its own: a disk that stalls delays nothing live."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from edge_agent.config.sections import SpoolSection
from edge_agent.host.clock import Clock
from edge_agent.lanes.backlog_reader import Fetch
from edge_agent.lanes.disk_backlog import SpoolRow
from edge_agent.spool.changes import Changes, LaneKey, Moment
from edge_agent.spool.directory import FILE_NAME, WAL_NAME, files_bytes, set_aside, thread_written_bytes

if TYPE_CHECKING:
    from edge_agent.spool.left import LeftLane
    from edge_agent.spool.store import SpoolStore

T = TypeVar("T")
# Whoever closes a database deletes the log at the path that it was opened by: these are of files that have no
# place any more, where another one's log is now and could not be written back. They stay open.
_without_place: Final[list[SpoolStore]] = []


class Disk:
    """The file in `directory` from `open` on; whatever raises SpoolError, `close` and `open` have to follow.

    `excess_bytes`: by how much it is larger than it may stay, since the last transaction.
    """

    def __init__(self, directory: Path, section: SpoolSection, clock: Clock) -> None:
        self.file_bytes = self.written_bytes = self.excess_bytes = 0
        self._directory = directory
        self._section = section
        self._clock = clock
        self._boot_id = clock.boot_id()
        self._store: SpoolStore | None = None
        self._next_row = 1
        self._sync_at: float | None = None
        self._thread = ThreadPoolExecutor(1, "spool")

    # -- one file after another

    async def open(self) -> None:
        """Makes a file where there is none."""
        # Not at the top: an agent without a spool has no memory for SQLite.
        from edge_agent.spool.store import SpoolStore  # noqa: PLC0415

        section = self._section
        work = partial(SpoolStore, self._directory, section.max_bytes, self._moment(), section.reserve_bytes)
        self._store = await self._in_thread(work)
        self._next_row = max(self._next_row, self._store.next_row)

    async def close(self) -> None:
        """Also where it is not open. Never raises."""
        store, self._store = self._store, None
        if store is not None:
            await self._in_thread(store.close)

    async def look(self) -> str:
        """What is wrong of its log. SpoolError where the open file is not in its place, or was cut."""
        return await self._in_thread(self._opened.look)

    async def move(self, own_starts: frozenset[str]) -> tuple[dict[LaneKey, LeftLane], int]:
        """Into the file that is in its place now: what that had, and how much greater row numbers are.

        What that has of `own_starts` is forgotten: a copy of what waits here, or of what waits no more.

        Then that file has to be opened; what raises SpoolError before leaves the old one open.
        """
        left, offset = await self._in_thread(partial(self._moved, self._moment(), own_starts))
        self._next_row += offset
        return left, offset

    async def set_aside(self) -> Path:
        """Moves away what cannot be read; its new name. Raises OSError."""
        name = await self._in_thread(partial(set_aside, self._directory, self._clock.wall_ns()))
        self._next_row, self._sync_at = 1, None
        return name

    async def finish(self) -> None:
        """Synced and closed for good."""
        await self._in_thread(self._opened.sync)
        await self.close()
        self._thread.shutdown(wait=False)

    # -- writing

    @property
    def transaction_bytes(self) -> int:
        """What always fits into one transaction."""
        return self._opened.transaction_bytes

    def next_row(self) -> int:
        """One that was never used."""
        self._next_row += 1
        return self._next_row - 1

    async def apply(self, changes: Changes) -> None:
        """One transaction, to be synced some time after."""
        self.excess_bytes = await self._in_thread(partial(self._opened.apply, changes, self._moment()))
        if self._sync_at is None:
            wait = self._section.sync_seconds - self._section.flush_seconds
            self._sync_at = self._clock.monotonic_seconds() + wait

    def sync_due_in(self, now_seconds: float) -> float:
        """Seconds until `sync_due` has something to do; infinite where nothing was written."""
        return math.inf if self._sync_at is None else self._sync_at - now_seconds

    async def sync_due(self) -> None:
        """Makes what was written last through a power cut, where it is time."""
        if self.sync_due_in(self._clock.monotonic_seconds()) <= 0:
            self._sync_at = None
            await self._in_thread(self._opened.sync)

    # -- reading

    async def left(self) -> dict[LaneKey, LeftLane]:
        """What earlier starts left."""
        return await self._in_thread(partial(self._opened.left, self._moment()))

    async def fetch(self, key: LaneKey, fetch: Fetch) -> list[SpoolRow]:
        """The packets of the interval, in order, as many as are comfortable."""
        return await self._in_thread(partial(self._opened.fetch, key, fetch, self._moment()))

    async def oldest(self, wanted_bytes: int | None) -> dict[LaneKey, list[SpoolRow]]:
        """Some of the oldest packets with the gaps next to them, no bodies."""
        return await self._in_thread(partial(self._opened.oldest, self._moment(), wanted_bytes))

    async def oldest_gaps(self) -> dict[LaneKey, list[SpoolRow]]:
        """The oldest gaps, where there are too many."""
        return await self._in_thread(partial(self._opened.oldest_gaps, self._moment()))

    # -- inside

    @property
    def _opened(self) -> SpoolStore:
        assert self._store is not None
        return self._store

    def _moved(self, now: Moment, own_starts: frozenset[str]) -> tuple[dict[LaneKey, LeftLane], int]:
        from edge_agent.spool.store import SpoolStore  # noqa: PLC0415

        old = self._opened
        if not (self._directory / FILE_NAME).exists():
            (self._directory / WAL_NAME).unlink(missing_ok=True)  # the old one's, which it has open
        new = SpoolStore(self._directory, self._section.max_bytes, now)
        try:
            new.forget_copies(old, own_starts)
            left = new.left(now)
            offset = new.copy_from(old)
            new.sync()
        finally:
            new.close()
        self._store = None
        if (self._directory / WAL_NAME).exists():
            _without_place.append(old)
        else:
            old.close_emptied()
        return left, offset

    def _moment(self) -> Moment:
        wall_ms = self._clock.wall_ns() // 1_000_000 if self._clock.synchronised() else None
        return Moment(self._boot_id, self._clock.monotonic_seconds(), wall_ms)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._counted, work)

    def _counted(self, work: Callable[[], T]) -> T:
        try:
            return work()
        finally:
            self.file_bytes = files_bytes(self._directory)
            self.written_bytes = thread_written_bytes()
