"""The spool: what the server takes too long over is on disk, and goes to it from there.

This shell moves packets between lanes (`spooled_lane`, which holds the rules) and the file (`disk`). When the
disk fails the lanes go on in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from can_stream.lanes.sender import LaneSender
from edge_agent.config.sections import SpoolSection
from edge_agent.errors import SpoolError
from edge_agent.host.clock import Clock
from edge_agent.lanes.disk_backlog import SpoolRow
from edge_agent.lanes.timing import patience_seconds
from edge_agent.spool.changes import Changes, LaneKey
from edge_agent.spool.directory import spool_directory
from edge_agent.spool.disk import Disk
from edge_agent.spool.known_lanes import KnownLanes
from edge_agent.spool.trimming import Trimming
from edge_agent.state import State, StatusCode

RETRY_SECONDS: Final = 10.0
IN_USE_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 2.0
_CATCH_UP_SECONDS: Final = 0.02
_IN_MEMORY: Final = "meanwhile packets wait in memory alone"
_logger: Final = logging.getLogger(__name__)


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
        self.failures = 0
        self._section = section
        self._clock = clock
        self._greet_again, self._on_state = greet_again, on_state
        self._lanes = KnownLanes(lanes, section.max_bytes)
        self._disk = Disk(self.directory, section, clock)
        self._trimming = Trimming(self._lanes, self._disk, clock, section.max_age_seconds)
        self._has_left = False
        self._set_aside: Path | None = None
        self._moves: list[str] = []
        self._deletes_at = self._look_at = self._writes_at = 0.0
        self._new_file_at, self._has_failed_at_end = float("-inf"), False
        self._stopping = asyncio.Event()

    # -- how it stands

    @property
    def works(self) -> bool:
        """Whether what waits is kept on disk."""
        return self.state.code in (StatusCode.OK, StatusCode.DEGRADED)

    @property
    def frames(self) -> int:
        """How many frames wait on disk; values of signals lanes count as frames."""
        return self._lanes.frames

    @property
    def trimmed_frames(self) -> int:
        """How many it had to let go since the start."""
        return self._lanes.trimmed_frames

    @property
    def oldest_age_seconds(self) -> float | None:
        """How long the oldest of them has waited; None where none does, or the oldest is of another boot."""
        return self._lanes.oldest_age_seconds(self._clock.monotonic_seconds())

    @property
    def file_bytes(self) -> int:
        """What all files in the directory take up."""
        return self._disk.file_bytes

    @property
    def written_bytes(self) -> int:
        """What was given to storage since the start."""
        return self._disk.written_bytes

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
        await self._disk.open()
        if not self._has_left:
            self._lanes.leave(await self._disk.left())
            self._has_left = True
        self._lanes.adopt()
        self._lanes.use_disk(True)
        self._tell_working()
        self.opened.set()

    def _tell_working(self) -> None:
        if self._writes_at:  # full, until something has been written again
            return
        message = f"keeps what waits in {self.directory}"
        if self._set_aside is not None:
            message += f"; a file that could not be read was set aside as {self._set_aside.name}"
        if self._moves:
            often = "" if len(self._moves) == 1 else f" ({len(self._moves)} times)"
            message += f"; {self._moves[-1]}, and what waited was moved there{often}"
        self._tell(State(StatusCode.DEGRADED if self._set_aside else StatusCode.OK, message))

    async def _cycle(self) -> None:
        self._lanes.adopt()
        await self._pause(self._due_in())
        if self._clock.monotonic_seconds() >= self._writes_at:
            await self._try_to_write()
        await self._read()
        await self._disk.sync_due()
        await self._look()
        if any(window.wants_greeting for window in self._lanes.spooled.values()):
            self._greet_again()

    async def _try_to_write(self) -> None:
        """A full disk can be read, and is: what the server takes of it makes room, and nothing else may."""
        try:
            await self._write_due()
            await self._trimming.expire()
        except SpoolError as error:
            if not error.is_full or self._stopping.is_set():
                raise
            self.failures += 1
            self._writes_at = self._clock.monotonic_seconds() + RETRY_SECONDS
            self._tell(State(StatusCode.FAILED, f"{error}; {_IN_MEMORY}"))
            await self._disk.close()
            await self._disk.open()
        else:
            self._writes_at = 0.0
            self._tell_working()

    async def _look(self) -> None:
        """Whether the file is still where it was: whoever has it open does not notice."""
        now_seconds = self._clock.monotonic_seconds()
        if now_seconds < self._look_at:
            return
        self._look_at = now_seconds + LOOK_SECONDS
        try:
            wrong = await self._disk.look()
        except SpoolError as error:
            if not error.is_gone:
                raise
            await self._move(error)
        else:
            if wrong:
                self._tell(State(StatusCode.DEGRADED, wrong))
            else:
                self._tell_working()

    async def _move(self, why: SpoolError) -> None:
        # Where a file was lost, one that comes may be it: then what was given up is found in it.
        own_starts = self._lanes.start_ids if self._set_aside is None else frozenset[str]()
        try:
            left, offset = await self._disk.move(own_starts)
        except SpoolError as error:  # the old one is open, and goes on
            message = f"{why.reason}, and what waits cannot be moved there yet: {error}"
            self._tell(State(StatusCode.FAILED, message))  # nobody finds it after the end
            return
        self._lanes.moved(left, offset)
        await self._disk.open()
        _logger.warning("%s", why)
        self._moves.append(why.reason)
        self._tell_working()

    def _due_in(self) -> float:
        now_seconds = self._clock.monotonic_seconds()
        windows = self._lanes.spooled.values()
        writes = [window.writer.due_in(now_seconds) for window in windows]
        if any(window.disk.unneeded for window in windows):
            writes.append(self._deletes_at - now_seconds)
        due = [max(one, self._writes_at - now_seconds) for one in writes]
        due += [patience_seconds(self._section), self._disk.sync_due_in(now_seconds)]
        due.append(self._look_at - now_seconds)
        if any(window.disk.reader.has_more for window in windows):
            due.append(_CATCH_UP_SECONDS)
        return max(min(due), _CATCH_UP_SECONDS / 2)

    async def _write_due(self) -> None:
        await self._trimming.make_room()
        while self._disk.excess_bytes <= 0:
            now_seconds = self._clock.monotonic_seconds()
            handed, room = dict[LaneKey, list[SpoolRow]](), self._disk.transaction_bytes
            for key, window in self._lanes.spooled.items():
                if room > 0 and window.writer.due_in(now_seconds) <= 0:
                    handed[key] = window.hand_over(now_seconds, self._disk.next_row, room)
                    room -= sum(len(row.packet) for row in handed[key])
            if not any(handed.values()) and now_seconds < self._deletes_at:
                return
            if not await self._write(handed) or room > 0:
                return

    async def _write(self, handed: Mapping[LaneKey, list[SpoolRow]]) -> bool:
        """One transaction, and then room for the next; whether there was anything to write."""
        windows = self._lanes.spooled
        gone = {key: window.disk.unneeded.take() for key, window in windows.items()}
        changes = Changes(
            puts=[(key, row) for key, rows in handed.items() for row in rows],
            deletes=[row for unneeded in gone.values() for row in unneeded.rows],
            delete_stretches=[
                (key, stretch) for key, unneeded in gone.items() for stretch in unneeded.stretches
            ],
            is_last=self._stopping.is_set(),
        )
        self._deletes_at = self._clock.monotonic_seconds() + self._section.flush_seconds
        if not changes.is_needed:
            return False
        changes.ledger = self._lanes.changed_ledger(windows)  # costs nothing: something is written anyhow
        try:
            await self._disk.apply(changes)
        except SpoolError:
            for key, rows in handed.items():
                windows[key].writer.not_written(rows)
            for key, unneeded in gone.items():
                windows[key].disk.unneeded.put_back(unneeded)
            raise
        self._lanes.ledger_written(changes.ledger)
        for key, rows in handed.items():
            windows[key].written(rows)
        await self._trimming.make_room()
        return True

    async def _read(self) -> None:
        for key, window in self._lanes.spooled.items():
            while (fetch := window.disk.reader.next_fetch()) is not None:
                rows = await self._disk.fetch(key, fetch)
                window.take_rows(fetch, rows, self._clock.monotonic_seconds())

    # -- at its ends

    async def _finish(self) -> None:
        """A clean stop: all that waits is on disk and stays there."""
        self._look_at = 0.0
        await self._look()
        room = self._disk.transaction_bytes
        for key, window in self._lanes.spooled.items():
            rows, part = window.writer.hand_over_all(self._disk.next_row), list[SpoolRow]()
            for row in rows:
                part.append(row)
                if sum(len(one.packet) for one in part) >= room:
                    await self._write({key: part})
                    part = []
            await self._write({key: part})
        await self._disk.finish()

    async def _failed(self, error: SpoolError) -> None:
        self.failures += 1
        await self._disk.close()
        message = f"{error}; {_IN_MEMORY}"
        if error.is_corrupt:
            try:
                self._set_aside = await self._disk.set_aside()
            except OSError as problem:
                message = f"{error}; but the old one cannot be moved away ({problem.strerror}): delete it"
            else:
                _logger.error("%s; the old one is kept as %s", error, self._set_aside)
                await self._begin_anew()
                return
        self._lanes.use_disk(False)
        if is_waiting := error.is_in_use and not self._has_left:
            message = f"{error}; until then the server is told of what is new alone"
        else:
            self.opened.set()
        self._tell(State(StatusCode.FAILED, message))
        await self._pause(IN_USE_SECONDS if is_waiting else RETRY_SECONDS)

    async def _begin_anew(self) -> None:
        """With another file."""
        self._lanes.disk_lost(self._clock.monotonic_seconds())
        self._has_left = True
        now_seconds = self._clock.monotonic_seconds()
        if now_seconds < self._new_file_at + RETRY_SECONDS:  # it cannot be the file
            await self._pause(RETRY_SECONDS)
        self._new_file_at = now_seconds

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._stopping.wait()

    def _tell(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._on_state(state)
