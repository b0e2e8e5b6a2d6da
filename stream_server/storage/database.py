"""SQLite behind two doors: one writer thread that commits in groups, and a few readers."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import QueuePool

from stream_server import clock
from stream_server.errors import StorageError
from stream_server.storage.health import is_damage

T = TypeVar("T")

MAX_GROUP_JOBS: Final = 512
MAX_WAITING_JOBS: Final = 4096
READERS: Final = 4
LONG_READERS: Final = 2
"""Threads for what reads page after page: nobody whose credential is checked waits behind it."""
BUSY_TIMEOUT_MS: Final = 10_000
_logger: Final = logging.getLogger(__name__)


def open_engine(path: Path, *, readers: int = 0, foreign_keys: bool = True) -> Engine:
    """An engine on the database at `path`: for `readers` threads that cannot write, or (0) for one writer.

    Without `foreign_keys` a table that others refer to can be made anew, as migrations do.
    """
    engine = sqlalchemy.create_engine(
        f"sqlite:///{path}", poolclass=QueuePool, pool_size=max(readers, 1), max_overflow=0
    )

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        # sqlite3's own implicit transactions break SAVEPOINT and DDL; BEGIN is ours below.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",  # an ack to an agent promises that a power cut loses nothing
            f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
            *(("query_only=ON",) if readers else ()),
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer that begins deferred can find itself behind another process and fail at once.
        connection.exec_driver_sql("BEGIN" if readers else "BEGIN IMMEDIATE")

    return engine


@dataclass(slots=True)
class _Job(Generic[T]):
    run: Callable[[Connection], T]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[T]
    outcome: T | BaseException | None = None


class Database:
    """One file of one server process. Open it after `migrations.upgrade`.

    `fault` is why the last group was not stored, None when it was. `on_commit(seconds, jobs)` is called
    from the writer thread for each group. `damage` is what is wrong with the file itself, once that is known;
    `on_damage` is then called, once, from any thread.
    """

    def __init__(
        self,
        path: Path,
        on_commit: Callable[[float, int], None] | None = None,
        on_damage: Callable[[], object] | None = None,
    ) -> None:
        self.path = path
        self.fault: str | None = None
        self.damage: str | None = None
        self._on_commit = on_commit
        self._on_damage = on_damage
        self._slots = asyncio.Semaphore(MAX_WAITING_JOBS)
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._write_engine = open_engine(path)
        self._read_engine = open_engine(path, readers=READERS)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="database-reader")
        self._long_engine = open_engine(path, readers=LONG_READERS)
        self._closed = False
        self._writer = threading.Thread(target=self._write_groups, name="database-writer", daemon=True)
        self._writer.start()

    async def write(self, run: Callable[[Connection], T]) -> T:
        """What `run(connection)` returns, once it is committed with everything that was waiting.

        A job that raises fails alone, with its own exception; StorageError when the group could not be
        committed. `run` may be called twice (the group is repeated without the failing job's traces), so it
        must change nothing but the database. Waits while 4,096 jobs are waiting.
        """
        if self._closed:
            raise StorageError("the server is stopping")
        async with self._slots:
            loop = asyncio.get_running_loop()
            job: _Job[T] = _Job(run, loop, loop.create_future())
            self._jobs.put(job)
            return await job.future

    async def read(self, run: Callable[[Connection], T]) -> T:
        """What `run(connection)` returns; all its queries see one state. It cannot write.

        StorageError where the file is damaged. What may take long is read with `read_here`.
        """
        in_thread = partial(self._read, self._read_engine, run)
        return await asyncio.get_running_loop().run_in_executor(self._readers, in_thread)

    def read_here(self, run: Callable[[Connection], T]) -> T:
        """`read` in the calling thread, one of those for long answers. StorageError as `read`."""
        return self._read(self._long_engine, run)

    def _read(self, engine: Engine, run: Callable[[Connection], T]) -> T:
        try:
            with engine.begin() as connection:
                return run(connection)
        except sqlalchemy.exc.DBAPIError as error:
            if not self._look_at(error):
                raise
            raise StorageError(str(error.orig)) from error

    def found_damage(self, reason: str) -> None:
        """Somebody has seen that the file is damaged. Any thread."""
        if self.damage is None:
            self.damage = reason
            _logger.error("%s is damaged: %s", self.path, reason)
            if self._on_damage is not None:
                self._on_damage()

    def _look_at(self, error: Exception) -> bool:
        """Whether the file is at fault."""
        damaged = is_damage(error)
        if damaged:
            self.found_damage(str(getattr(error, "orig", None) or error))
        return damaged

    async def close(self) -> None:
        """Commit what is waiting, then let go of the file."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        self._read_engine.dispose()
        self._long_engine.dispose()
        self._write_engine.dispose()

    def _write_groups(self) -> None:
        running = True
        while running:
            group: list[_Job[Any]] = []
            job = self._jobs.get()
            while job is not None:
                group.append(job)
                if len(group) == MAX_GROUP_JOBS:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            running = job is not None
            if group:
                self._commit(group)

    def _commit(self, group: Sequence[_Job[Any]]) -> None:
        started = clock.monotonic_seconds()
        try:
            try:
                self._transaction(group, _run_plainly)
            except Exception:
                # Savepoints cost more than most jobs, so they are taken only when some job has failed.
                self._transaction(group, _run_apart)
            self.fault = None
        except Exception as error:
            self.fault = str(getattr(error, "orig", None) or error)
            self._look_at(error)
            for job in group:
                job.outcome = StorageError(self.fault)
        if self._on_commit is not None:
            self._on_commit(clock.monotonic_seconds() - started, len(group))
        for loop in {job.loop for job in group}:
            _resolve(loop, [job for job in group if job.loop is loop])

    def _transaction(
        self, group: Sequence[_Job[Any]], run: Callable[[Connection, Sequence[_Job[Any]]], None]
    ) -> None:
        with self._write_engine.begin() as connection:
            run(connection, group)


def _run_plainly(connection: Connection, group: Sequence[_Job[Any]]) -> None:
    for job in group:
        job.outcome = job.run(connection)


def _run_apart(connection: Connection, group: Sequence[_Job[Any]]) -> None:
    for job in group:
        savepoint = connection.begin_nested()
        try:
            job.outcome = job.run(connection)
        except sqlalchemy.exc.OperationalError:
            raise  # a full disk is no fault of this job, and has ended the transaction already
        except Exception as error:
            savepoint.rollback()
            job.outcome = error
        else:
            savepoint.commit()


def _resolve(loop: asyncio.AbstractEventLoop, group: Sequence[_Job[Any]]) -> None:
    def in_loop() -> None:
        for job in group:
            if job.future.cancelled():
                continue
            if isinstance(job.outcome, BaseException):
                job.future.set_exception(job.outcome)
            else:
                job.future.set_result(job.outcome)

    if not loop.is_closed():
        loop.call_soon_threadsafe(in_loop)
