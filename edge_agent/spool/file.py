"""The spool's SQLite file: opened and locked, set up to spare the disk, and held within its bound.

Everything here blocks, and belongs to one thread. The file is locked for as long as it is open, and so needs
no shared memory beside it. Small pages: every commit writes whole ones, four times a second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from can_stream.private_files import make_private
from edge_agent.errors import SpoolError
from edge_agent.spool.directory import FILE_NAME, WAL_NAME, kept_files, others_bytes

SCHEMA_VERSION: Final = 3
PAGE_BYTES: Final = 512
_LARGEST_LOG_BYTES: Final = 4 * 1024 * 1024
_LARGEST_RESERVE_BYTES: Final = 256 * 1024 * 1024
_CACHE_KIB: Final = 128
_logger: Final = logging.getLogger(__name__)
_SCHEMA: Final = """
CREATE TABLE lanes (lane INTEGER PRIMARY KEY, dongle_id TEXT NOT NULL, name TEXT NOT NULL,
  UNIQUE (dongle_id, name));
CREATE TABLE starts (start INTEGER PRIMARY KEY, start_id TEXT NOT NULL UNIQUE, boot_id TEXT NOT NULL,
  boot_wall_ms INTEGER);
CREATE TABLE packets (id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, start INTEGER NOT NULL,
  first_seq INTEGER NOT NULL, seq INTEGER NOT NULL, frames INTEGER, gap INTEGER, first_ns INTEGER,
  last_ns INTEGER, made_ms INTEGER NOT NULL);
CREATE TABLE bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
"""
# Version 1 had no positions; what it remembered of hellos is not needed where there are.
_SECOND: Final = """
ALTER TABLE packets ADD COLUMN position INTEGER;
CREATE TABLE ledger (lane INTEGER NOT NULL, start INTEGER NOT NULL, last_seq INTEGER NOT NULL,
  frames INTEGER NOT NULL, acknowledged INTEGER NOT NULL, PRIMARY KEY (lane, start)) WITHOUT ROWID;
DROP TABLE IF EXISTS marks;
"""
# Version 2 knew no activations: what it holds is carried for none, and of unknown age.
_THIRD: Final = """
ALTER TABLE packets ADD COLUMN carried INTEGER;
ALTER TABLE packets ADD COLUMN born_ms INTEGER;
CREATE TABLE activations (carried INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
"""


class SpoolFile:
    """The open file, as `db`. Whatever raises, it must be closed then and made anew.

    All files in `directory` together stay within `max_bytes`: the database has what the log leaves, and a
    transaction of `transaction_bytes` always fits. `reserve_bytes` of the disk are left to others, None for
    the smaller of a twentieth of it and 256 MiB.
    """

    def __init__(self, directory: Path, max_bytes: int, reserve_bytes: int | None = None) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self._log_bytes = min(max_bytes // 4, _LARGEST_LOG_BYTES)
        self.transaction_bytes = self._log_bytes // 4
        self.next_row = 1
        self.db = self._open()
        # From the beginning, for a file that is deleted can be synced and moved as long as it is open.
        self._log_descriptor = os.open(directory / WAL_NAME, os.O_RDONLY)
        self._identity = _identity(directory / FILE_NAME)
        self._size_bytes = (directory / FILE_NAME).stat().st_size

    def close(self) -> None:
        """Writes the log back where that is possible. Never raises."""
        if self._log_descriptor >= 0:
            os.close(self._log_descriptor)
            self._log_descriptor = -1
        with contextlib.suppress(sqlite3.Error):
            self.db.close()

    def sync(self) -> None:
        """What was written lasts through a power cut from now on."""
        os.fsync(self._log_descriptor)

    @property
    def is_in_place(self) -> bool:
        """Whether the open file is the one that its name leads to: not deleted, nor covered by a mount."""
        return _identity(self._directory / FILE_NAME) == self._identity

    @property
    def is_log_in_place(self) -> bool:
        """The same for what was written last. Who opens the file after a kill would not find it."""
        found = os.fstat(self._log_descriptor)
        return _identity(self._directory / WAL_NAME) == (found.st_dev, found.st_ino)

    def make_log_anew(self) -> None:
        """Writes back what is in the log that has lost its place, and begins another there.

        SQLite does it without letting go of the lock, and takes away whatever has the name now: a log that
        was put there would be read as this file's.
        """
        for mode in ("DELETE", "WAL"):
            (found,) = self.db.execute(f"PRAGMA journal_mode={mode}").fetchone()
            if found != mode.lower():
                raise sqlite3.OperationalError(f"the log cannot be made anew: journal_mode is {found}")
        with self.transaction():
            pass
        os.close(self._log_descriptor)
        self._log_descriptor = os.open(self._directory / WAL_NAME, os.O_RDONLY)

    @property
    def is_cut(self) -> bool:
        """Whether it has become shorter, which SQLite never makes it."""
        size_bytes = (self._directory / FILE_NAME).stat().st_size
        is_shorter, self._size_bytes = size_bytes < self._size_bytes, size_bytes
        return is_shorter

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Undone where what is inside raises."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def excess_bytes(self) -> int:
        """By how much it is larger than it may stay."""
        (pages,) = self.db.execute("PRAGMA page_count").fetchone()
        (free,) = self.db.execute("PRAGMA freelist_count").fetchone()
        return int(pages - free) * PAGE_BYTES - (self._bound() - 3 * self.transaction_bytes)

    def check_reserve(self) -> None:
        """Raises SpoolError where the file would grow into what is kept for others; it fills up what is free
        inside first."""
        try:
            disk = os.statvfs(self._directory)
        except OSError:  # it was moved away, which is found out elsewhere, with what was in it
            return
        free_bytes = disk.f_bavail * disk.f_frsize
        reserve_bytes = self._reserve_bytes
        if reserve_bytes is None:
            reserve_bytes = min(disk.f_blocks * disk.f_frsize // 20, _LARGEST_RESERVE_BYTES)
        if free_bytes >= reserve_bytes:
            return
        (free_pages,) = self.db.execute("PRAGMA freelist_count").fetchone()
        if free_pages * PAGE_BYTES < self.transaction_bytes:
            kept = f"{reserve_bytes / 1e6:.1f} MB"  # and not what is free, for that is news every time
            reason = f"less of its disk is free than the {kept} that are kept for others"
            remedy = "free some space, or set a smaller `reserve_bytes` below [spool]"
            raise SpoolError(self._directory, reason, remedy, is_full=True)

    # -- inside

    def _open(self) -> sqlite3.Connection:
        if (said := make_private(self._directory)) is not None:
            _logger.warning("spool: %s", said)
        for name in (FILE_NAME, WAL_NAME):  # of an agent that left them readable
            with contextlib.suppress(OSError):  # it is new, or was somebody else's
                (self._directory / name).chmod(0o600)
        db = sqlite3.connect(
            self._directory / FILE_NAME, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            self._set_up(db)
        except BaseException:
            db.close()
            raise
        return db

    def _set_up(self, db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        # Debian's SQLite overwrites what is deleted: as many bytes again, for data that is not secret here.
        db.execute("PRAGMA secure_delete=OFF")
        db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        db.execute(f"PRAGMA wal_autocheckpoint={self._log_bytes // 3 // PAGE_BYTES}")
        db.execute(f"PRAGMA journal_size_limit={self._log_bytes}")
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version == 0 and tables == 0:
            _run(db, _SCHEMA + _SECOND + _THIRD)
        elif version == 1:
            _run(db, _SECOND + _THIRD)
        elif version == 2:
            _run(db, _THIRD)
        elif version != SCHEMA_VERSION:
            raise ValueError(f"its version is {version}, this agent reads 1 to {SCHEMA_VERSION}")
        (last,) = db.execute("SELECT max(id) FROM packets").fetchone()
        self.next_row = (last or 0) + 1
        db.execute("COMMIT")
        _sync_directory(self._directory)

    def _bound(self) -> int:
        """How large the database itself may become; what was set aside goes first."""
        while True:
            room = self._max_bytes - self._log_bytes - others_bytes(self._directory)
            kept = kept_files(self._directory)
            if room >= self._max_bytes // 2 or not kept:
                self.db.execute(f"PRAGMA max_page_count={max(1, room // PAGE_BYTES)}")
                return room
            kept[0].unlink(missing_ok=True)


def _run(db: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";")[:-1]:
        db.execute(statement)
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
