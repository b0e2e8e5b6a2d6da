"""The data directory: where the database is, and the lock that keeps a second server out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from stream_server.errors import StartError
from stream_server.storage import migrations
from stream_server.storage.database import open_engine

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Where one server keeps everything."""

    path: Path

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return self.path / "stream-server.sqlite3"

    def administer(self, job: Callable[[Connection], T]) -> T:
        """Run `job` in one transaction, also while a server runs. StartError when storage refuses."""
        engine = open_engine(self.database_path)
        try:
            with engine.begin() as connection:
                return job(connection)
        except DBAPIError as error:
            raise StartError(f"{self.database_path} cannot be changed: {error.orig}") from error
        finally:
            engine.dispose()

    def backup(self, target: Path) -> None:
        """Copy the database to the new file `target`, also while a server runs. StartError."""
        try:
            # O_EXCL: a file that appears meanwhile is not overwritten either. It holds token hashes: 0600.
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError as error:
            raise StartError(f"{target} exists; name a file that does not") from error
        except OSError as error:
            raise StartError(f"cannot write {target}: {error.strerror}") from error
        try:
            _copy(self.database_path, target)
        except sqlite3.Error as error:
            target.unlink(missing_ok=True)
            raise StartError(f"the backup to {target} failed: {error}; nothing was written") from error


def _copy(source_path: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(source_path)) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        # In one go: a copy in steps starts anew whenever the server writes in between.
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"the copy is damaged: {verdict}")


def prepare(path: Path) -> DataDirectory:
    """Make the directory and its database, or bring them up to date. StartError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"cannot make the data directory {path}: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StartError(f"the data directory {path} is not writable; choose another with --data-dir")
    directory = DataDirectory(path)
    migrations.upgrade(directory.database_path)
    directory.database_path.chmod(0o600)
    return directory


def existing(path: Path) -> DataDirectory:
    """A directory that a server has used or `prepare` has made. StartError when there is no database."""
    directory = DataDirectory(path)
    if not directory.database_path.is_file():
        raise StartError(f"there is no database in {path}; name the server's directory with --data-dir")
    return directory


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the directory for one server. StartError when another one runs on it.

    The kernel lets go of the lock when the process ends, in whatever way.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"cannot use the data directory {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(
                f"another stream-server runs on {path}; stop it or choose another --data-dir"
            ) from error
        yield
    finally:
        os.close(descriptor)
