"""The spool: what the server takes too long over is on disk, and goes to it from there.

This shell moves packets between lanes (`spooled_lane`, which holds the rules) and the file (`spool_store`),
in a thread of its own: a disk that stalls delays nothing live. When the disk fails the lanes go on in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from can_stream.lanes.sender import LaneSender, WindowLimits
from edge_agent.config.sections import SpoolSection
from edge_agent.errors import SpoolError
from edge_agent.host.clock import Clock
from edge_agent.lanes.disk_backlog import SpoolRow
from edge_agent.lanes.lane_on_disk import LaneOnDisk
from edge_agent.lanes.spooled_lane import SpooledLane
from edge_agent.lanes.timing import patience_seconds
from edge_agent.lanes.trim import trim
from edge_agent.spool.directory import files_bytes, set_aside, spool_directory, thread_written_bytes
from edge_agent.state import State, StatusCode

if TYPE_CHECKING:
    from edge_agent.spool.store import Changes, LaneKey, Moment, SpoolStore

T = TypeVar("T")
RETRY_SECONDS: Final = 10.0
IN_USE_SECONDS: Final = 1.0
_EXPIRY_SECONDS: Final = 10.0
_CATCH_UP_SECONDS: Final = 0.02
_LARGEST_PACKET_SHARE: Final = 8
_logger: Final = logging.getLogger(__name__)
Handed = list[tuple[SpooledLane, list[SpoolRow]]]


class Spool:
    """Keeps `lanes`, those that are spooled, on disk as far as need be; more may be added to the list.

    `greet_again` is called when another hello is needed, `on_state` at each change. `opened` is set once what
    earlier starts left is known, or cannot be known.
    """

    def __init__(
        self,
        section: SpoolSection,
        lanes: Sequence[LaneSender],
        clock: Clock,
        *,
        greet_again: Callable[[], None],
        on_state: Callable[[State], None],
    ) -> None:
        self.directory: Final = spool_directory(section.directory)
        self.state = State(StatusCode.STARTING, f"opening {self.directory}")
        self.opened = asyncio.Event()
        self.file_bytes = self.written_bytes = self.failures = 0
        self._section = section
        self._patience_seconds = patience_seconds(section)
        self._all_lanes = lanes
        self._clock = clock
        self._boot_id = clock.boot_id()
        self._greet_again, self._on_state = greet_again, on_state
        self._lanes: dict[LaneKey, SpooledLane] = {}
        self._orphans: dict[LaneKey, LaneOnDisk] = {}
        self._has_left = False
        self._set_aside: Path | None = None
        self._store: SpoolStore | None = None
        self._next_row = 1
        self._excess_bytes = 0
        self._deletes_at = self._expiry_at = 0.0
        self._sync_at: float | None = None
        self._new_file_at, self._has_failed_at_end = float("-inf"), False
        self._stopping = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "spool")

    # -- how it stands

    @property
    def works(self) -> bool:
        """Whether what waits is kept on disk."""
        return self.state.code in (StatusCode.OK, StatusCode.DEGRADED)

    @property
    def frames(self) -> int:
        """How many frames wait on disk; values of signals lanes count as frames."""
        return sum(lane.frames_on_disk for lane in self._known())

    @property
    def trimmed_frames(self) -> int:
        """How many it had to let go since the start."""
        return sum(lane.trimmed_frames + lane.earlier_trimmed_frames for lane in self._known())

    @property
    def oldest_age_seconds(self) -> float | None:
        """How long the oldest of them has waited; None where none does, or the oldest is of another boot."""
        now_seconds = self._clock.monotonic_seconds()
        ages = (lane.oldest_age_seconds(now_seconds) for lane in self._known())
        return max((age for age in ages if age is not None), default=None)

    # -- running

    async def run(self) -> None:
        """Until `stop`, then writes all that waits; tries again for ever where the disk fails."""
        while True:
            try:
                await self._open()
                while not self._stopping.is_set():
                    await self._cycle()
                await self._finish()
                return
            except SpoolError as error:
                was_stopping = self._stopping.is_set()
                await self._failed(error)
                if was_stopping and (self._has_failed_at_end or not error.is_corrupt):
                    return
                self._has_failed_at_end = was_stopping

    def stop(self) -> None:
        """Lets `run` come to its end."""
        self._stopping.set()

    async def _open(self) -> None:
        # Not at the top: an agent without a spool has no memory for SQLite.
        from edge_agent.spool.store import SpoolStore  # noqa: PLC0415

        now = self._moment()
        self._store = await self._in_thread(lambda: SpoolStore(self.directory, self._section.max_bytes, now))
        self._next_row = max(self._next_row, self._store.next_row)
        if not self._has_left:
            for key, left in (await self._in_thread(lambda: self._opened.left(now))).items():
                orphan = LaneOnDisk(key[0], "frames", "00" * 8, WindowLimits(trims=False))
                orphan.offer(left.backlog, left.marks)
                self._orphans[key] = orphan
            self._has_left = True
        self._adopt()
        for lane in self._lanes.values():
            lane.use_disk(True)
        message = f"keeps what waits in {self.directory}"
        if self._set_aside is not None:
            message += f"; a file that could not be read was set aside as {self._set_aside.name}"
        self._tell(State(StatusCode.DEGRADED if self._set_aside else StatusCode.OK, message))
        self.opened.set()

    async def _failed(self, error: SpoolError) -> None:
        self.failures += 1
        store, self._store = self._store, None
        if store is not None:
            await self._in_thread(store.close)
        message = f"{error}; meanwhile packets wait in memory alone"
        if error.is_corrupt:
            try:
                wall_ns = self._clock.wall_ns()
                self._set_aside = await self._in_thread(lambda: set_aside(self.directory, wall_ns))
            except OSError as problem:
                message = f"{error}; but the old one cannot be moved away ({problem.strerror}): delete it"
            else:
                _logger.error("%s; the old one is kept as %s", error, self._set_aside)
                self._forget_disk()
                now_seconds = self._clock.monotonic_seconds()
                if now_seconds < self._new_file_at + RETRY_SECONDS:  # it cannot be the file
                    await self._pause(RETRY_SECONDS)
                self._new_file_at = now_seconds
                return
        for lane in self._lanes.values():
            lane.use_disk(False)
        if is_waiting := error.is_in_use and not self._has_left:
            message = f"{error}; until then the server is not greeted, for there may be frames in it"
        else:
            self.opened.set()
        self._tell(State(StatusCode.FAILED, message))
        await self._pause(IN_USE_SECONDS if is_waiting else RETRY_SECONDS)

    def _forget_disk(self) -> None:
        self._orphans.clear()
        self._has_left, self._next_row, self._sync_at = True, 1, None
        for lane in self._lanes.values():
            lane.disk_lost()

    async def _cycle(self) -> None:
        self._adopt()
        await self._pause(self._due_in())
        await self._write_due()
        await self._expire()
        await self._read()
        await self._sync_due()
        if any(lane.wants_greeting for lane in self._lanes.values()):
            self._greet_again()

    def _adopt(self) -> None:
        """Lanes that are new here get what earlier starts left of them."""
        for lane in self._all_lanes:
            key: LaneKey = (lane.dongle_id, lane.lane)
            if isinstance(lane, SpooledLane) and key not in self._lanes:
                self._lanes[key] = lane
                lane.max_packet_bytes = self._section.max_bytes // _LARGEST_PACKET_SHARE
                left = self._orphans.pop(key, None)
                if left is not None:
                    lane.offer(left.disk, left.known_marks())

    def _due_in(self) -> float:
        now_seconds = self._clock.monotonic_seconds()
        due = [lane.due_in(now_seconds) for lane in self._lanes.values()]
        due.append(self._patience_seconds)
        if self._sync_at is not None:
            due.append(self._sync_at - now_seconds)
        if any(lane.deletes or lane.delete_stretches for lane in self._lanes.values()):
            due.append(self._deletes_at - now_seconds)
        if any(lane.has_backlog_to_read for lane in self._lanes.values()):
            due.append(_CATCH_UP_SECONDS)
        return max(min(due), _CATCH_UP_SECONDS / 2)

    # -- writing

    async def _write_due(self) -> None:
        if self._excess_bytes > 0:
            await self._make_room()
        while self._excess_bytes <= 0:
            now_seconds = self._clock.monotonic_seconds()
            handed, room = list[tuple[SpooledLane, list[SpoolRow]]](), self._opened.transaction_bytes
            for lane in self._lanes.values():
                if room > 0 and lane.due_in(now_seconds) <= 0:
                    rows = lane.hand_over(now_seconds, self._row, room)
                    room -= sum(len(row.packet) for row in rows)
                    handed.append((lane, rows))
            if not any(rows for _, rows in handed) and now_seconds < self._deletes_at:
                return
            if not await self._write(handed) or room > 0:
                return

    async def _write(self, handed: Handed) -> bool:
        """One transaction, and then room for the next; whether there was anything to write."""
        from edge_agent.spool.store import Changes  # noqa: PLC0415 - as in `_open`

        changes = Changes()
        marks: list[tuple[SpooledLane, dict[str, str]]] = []
        for lane, rows in handed:
            key: LaneKey = (lane.dongle_id, lane.lane)
            changes.puts += [(key, row) for row in rows]
            if rows:
                marks.append((lane, lane.changed_marks()))
                changes.marks += [(key, start_id, text) for start_id, text in marks[-1][1].items()]
        gone = [(key, lane, *lane.deleted()) for key, lane in self._lanes.items()]
        for key, _, deletes, stretches in gone:
            changes.deletes += deletes
            changes.delete_stretches += [(key, stretch) for stretch in stretches]
        self._deletes_at = self._clock.monotonic_seconds() + self._section.flush_seconds
        if not changes.is_needed:
            return False
        try:
            await self._apply(changes)
        except SpoolError:
            for lane, rows in handed:
                lane.not_written(rows)
            for _, lane, deletes, stretches in gone:
                lane.not_deleted(deletes, stretches)
            raise
        for lane, rows in handed:
            lane.written(rows, dict(next((known for one, known in marks if one is lane), {})))
        await self._make_room()
        return True

    async def _apply(self, changes: Changes) -> None:
        now = self._moment()
        self._excess_bytes = await self._in_thread(lambda: self._opened.apply(changes, now))
        if self._sync_at is None:
            wait = self._section.sync_seconds - self._section.flush_seconds
            self._sync_at = self._clock.monotonic_seconds() + wait

    async def _make_room(self) -> None:
        """Lets the oldest go until all fits; where they are those of the connection, it has to end first."""
        while self._excess_bytes > 0:
            if not await self._trim(lambda _: True, self._excess_bytes):
                for lane in self._lanes.values():
                    lane.ask_for_greeting()
                return

    async def _expire(self) -> None:
        now_seconds = self._clock.monotonic_seconds()
        if now_seconds < self._expiry_at:
            return
        limit = self._section.max_age_seconds
        while await self._trim(lambda row: row.age_seconds is not None and row.age_seconds > limit):
            pass
        self._expiry_at = now_seconds + _EXPIRY_SECONDS

    async def _trim(self, wanted: Callable[[SpoolRow], bool], wanted_bytes: int | None = None) -> bool:
        """Makes gaps of the oldest that are wanted; whether there were any."""
        from edge_agent.spool.store import Changes  # noqa: PLC0415 - as in `_open`

        now = self._moment()
        changes, done = Changes(), list[Callable[[], None]]()
        for lane, key, rows in self._of_lanes(
            await self._in_thread(lambda: self._opened.oldest(now, wanted_bytes))
        ):
            plan = trim(lane, [row for row in rows if row.gap is not None or wanted(row)])
            if plan.lost:
                changes.puts += [(key, row) for row in plan.puts]
                changes.deletes += [row.row for row in plan.merged]
                done.append(partial(lane.trimmed, plan.lost, plan.merged))
        for lane, _, rows in self._of_lanes(await self._in_thread(lambda: self._opened.oldest_gaps(now))):
            if lane.may_drop(rows):
                changes.deletes += [row.row for row in rows]
                done.append(partial(lane.dropped, rows))
        if not done:
            return False
        await self._apply(changes)
        for then in done:
            then()
        return True

    def _of_lanes(
        self, found: dict[LaneKey, list[SpoolRow]]
    ) -> Iterator[tuple[LaneOnDisk, LaneKey, list[SpoolRow]]]:
        for key, rows in found.items():
            lane: LaneOnDisk | None = self._lanes.get(key) or self._orphans.get(key)
            if lane is not None:
                yield lane, key, rows

    async def _sync_due(self) -> None:
        if self._sync_at is not None and self._sync_at <= self._clock.monotonic_seconds():
            self._sync_at = None
            await self._in_thread(self._opened.sync)

    async def _finish(self) -> None:
        """A clean stop: all that waits is on disk and stays there."""
        room = self._opened.transaction_bytes
        for lane in self._lanes.values():
            rows, part = lane.hand_over_all(self._row), list[SpoolRow]()
            for row in rows:
                part.append(row)
                if sum(len(one.packet) for one in part) >= room:
                    await self._write([(lane, part)])
                    part = []
            await self._write([(lane, part)])
        await self._in_thread(self._opened.sync)
        await self._in_thread(self._opened.close)
        self._thread.shutdown(wait=False)

    async def _read(self) -> None:
        for key, lane in self._lanes.items():
            while (fetch := lane.next_fetch()) is not None:
                marks = lane.changed_marks()
                told = [(key, start_id, text) for start_id, text in marks.items()]
                rows = await self._in_thread(partial(self._opened.fetch, key, fetch, told, self._moment()))
                lane.fetched(fetch, rows, marks)

    @property
    def _opened(self) -> SpoolStore:
        assert self._store is not None
        return self._store

    def _known(self) -> list[LaneOnDisk]:
        return [*self._lanes.values(), *self._orphans.values()]

    def _row(self) -> int:
        self._next_row += 1
        return self._next_row - 1

    def _moment(self) -> Moment:
        from edge_agent.spool.store import Moment  # noqa: PLC0415 - as in `_open`

        wall_ms = self._clock.wall_ns() // 1_000_000 if self._clock.synchronised() else None
        return Moment(self._boot_id, self._clock.monotonic_seconds(), wall_ms)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._counted, work)

    def _counted(self, work: Callable[[], T]) -> T:
        try:
            return work()
        finally:
            self.file_bytes = files_bytes(self.directory)
            self.written_bytes = thread_written_bytes()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), max(0.0, seconds))

    def _tell(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._on_state(state)
