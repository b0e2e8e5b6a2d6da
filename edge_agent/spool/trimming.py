"""Lets the oldest packets on disk go, of whatever lane, where too many or too old; `store` deletes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from edge_agent.host.clock import Clock
from edge_agent.lanes.disk_backlog import SpoolRow
from edge_agent.lanes.disk_part import DiskPart
from edge_agent.lanes.trim import trim
from edge_agent.spool.changes import Changes, LaneKey
from edge_agent.spool.disk import Disk
from edge_agent.spool.known_lanes import KnownLanes

_EXPIRY_SECONDS: Final = 10.0


class Trimming:
    """Makes gaps of what goes; what is sent from memory stays until the connection ends."""

    def __init__(self, lanes: KnownLanes, disk: Disk, clock: Clock, max_age_seconds: float) -> None:
        self._lanes = lanes
        self._disk = disk
        self._clock = clock
        self._max_age_seconds = max_age_seconds
        self._expiry_at = 0.0

    async def make_room(self) -> None:
        """Lets the oldest go until all fits; where they are those of the connection, it has to end first."""
        while self._disk.excess_bytes > 0:
            if not await self._trim(lambda _: True, self._disk.excess_bytes):
                for window in self._lanes.spooled.values():
                    window.ask_for_greeting()
                return

    async def expire(self) -> None:
        """Lets go what is too old; looks now and then alone."""
        now_seconds = self._clock.monotonic_seconds()
        if now_seconds < self._expiry_at:
            return
        while await self._trim(self._is_too_old):
            pass
        self._expiry_at = now_seconds + _EXPIRY_SECONDS

    def _is_too_old(self, row: SpoolRow) -> bool:
        return row.age_seconds is not None and row.age_seconds > self._max_age_seconds

    async def _trim(self, wanted: Callable[[SpoolRow], bool], wanted_bytes: int | None = None) -> bool:
        """Makes gaps of the oldest that are wanted; whether there were any."""
        changes, done = Changes(), list[Callable[[], None]]()
        for part, key, rows in self._of_lanes(await self._disk.oldest(wanted_bytes)):
            plan = trim(part, [row for row in rows if row.gap is not None or wanted(row)])
            if plan.lost:
                changes.puts += [(key, row) for row in plan.puts]
                changes.deletes += [row.row for row in plan.merged]
                done.append(partial(part.trimmed, plan.lost, plan.merged))
        for part, _, rows in self._of_lanes(await self._disk.oldest_gaps()):
            if part.may_drop(rows):
                changes.deletes += [row.row for row in rows]
                done.append(partial(part.dropped, rows))
        if not done:
            return False
        await self._disk.apply(changes)
        for then in done:
            then()
        return True

    def _of_lanes(
        self, found: Mapping[LaneKey, list[SpoolRow]]
    ) -> Iterator[tuple[DiskPart, LaneKey, list[SpoolRow]]]:
        for key, rows in found.items():
            part = self._lanes.get(key)
            if part is not None:
                yield part, key, rows
