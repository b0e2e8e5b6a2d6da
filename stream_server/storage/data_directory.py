"""The data directory: where the files are, and the lock that keeps a second server out."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from can_stream.private_files import make_private
from stream_server import clock
from stream_server.errors import StartError
from stream_server.storage import kept_facts, migrations, splitting
from stream_server.storage.database import open_engine
from stream_server.storage.files import begin_file
from stream_server.storage.health import damage_anywhere, damage_at_start
from stream_server.storage.recording_file import prepare_recording
from stream_server.storage.tables import add_server_part

T = TypeVar("T")

LOCK_SECONDS: Final = 2.0
_PREPARING_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.05
_LOCK: Final = "lock"
_logger: Final = logging.getLogger(__name__)
_MAX_ADDRESS_BYTES: Final = 4_096
_DATABASES: Final = (splitting.SERVER, splitting.RECORDING, splitting.SINGLE)


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Where one server keeps everything."""

    path: Path

    @property
    def server_path(self) -> Path:
        """The SQLite file of users, tokens, agents, dongles and the audit."""
        return self.path / splitting.SERVER

    @property
    def recording_path(self) -> Path:
        """The SQLite file of the packets."""
        return self.path / splitting.RECORDING

    def administer(self, job: Callable[[Connection], T]) -> T:
        """Run `job` in one transaction on `server.sqlite3`, also while a server runs. StartError."""
        return _in_transaction(self.server_path, job)

    def administer_recording(self, job: Callable[[Connection], T]) -> T:
        """The same on `recording.sqlite3`. A server that runs does not know what is changed there."""
        return _in_transaction(self.recording_path, job)

    def look_at_recording(self, job: Callable[[Connection], T]) -> T:
        """What `job` reads of `recording.sqlite3`, all of one moment, however long it takes. StartError."""
        return _in_transaction(self.recording_path, job, readers=1)

    def backup(self, target: Path) -> None:
        """Copy both files into the new file `target`, also while a server runs. StartError.

        It restores as the one file of an empty directory: two files could be torn apart.
        """
        try:
            # O_EXCL: a file that appears meanwhile is not overwritten either. It holds token hashes: 0600.
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError as error:
            raise StartError(f"{target} exists; name a file that does not") from error
        except OSError as error:
            raise StartError(
                f"cannot write {target}: {error.strerror}; name a new file in a directory that is there"
            ) from error
        try:
            _copy(self.recording_path, self.server_path, target)
        except sqlite3.Error as error:
            target.unlink(missing_ok=True)
            raise StartError(f"the backup to {target} failed: {error}; nothing was written") from error

    def damage_of_recording(self) -> str | None:
        """Why the recording cannot be used, None where it can. StartError where `server.sqlite3` cannot."""
        if (reason := damage_anywhere(self.server_path)) is not None:
            raise damaged_server(self.server_path, reason)
        return damage_anywhere(self.recording_path)

    def _is_current(self) -> bool:
        """Whether commands can do their work, which is on `server.sqlite3`."""
        return splitting.is_split(self.path) and migrations.is_current(self.server_path, migrations.SERVER)


def _in_transaction(path: Path, job: Callable[[Connection], T], *, readers: int = 0) -> T:
    engine = open_engine(path, readers=readers)
    try:
        with engine.begin() as connection:
            return job(connection)
    except DBAPIError as error:
        raise StartError(f"{path} cannot be {'read' if readers else 'changed'}: {error.orig}") from error
    finally:
        engine.dispose()


def _copy(recording_path: Path, server_path: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(recording_path, isolation_level=None)) as recording,
        contextlib.closing(sqlite3.connect(server_path, isolation_level=None)) as server,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        # Both as of one moment, the recording first: a registry that knows more than it needs does no harm.
        for source in (recording, server):
            source.execute("BEGIN")
            source.execute("SELECT 1 FROM alembic_version").fetchone()
        # In one go: a copy in steps starts anew whenever the server writes in between.
        recording.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        copy.execute("BEGIN")
        add_server_part(server, copy)
        mark = (kept_facts.BACKUP_MADE_AT.name, str(clock.wall_ns()))
        copy.execute("INSERT OR REPLACE INTO server_state VALUES (?, ?)", mark)
        copy.execute("COMMIT")
        (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"the copy is damaged: {verdict}")


def prepare(path: Path, *, known_damage: str | None = None) -> DataDirectory:
    """Make the directory and its files, or bring them up to date. Needs the lock. StartError.

    A damaged recording is set aside; `known_damage` is what a running server has found in it.
    """
    _make(path)
    directory = DataDirectory(path)
    splitting.split(path)
    # In this order: a recording without its registry is a sign that a file was lost.
    _prepare_server(directory.server_path)
    prepare_recording(directory.recording_path, known_damage=known_damage)
    for file in (directory.server_path, directory.recording_path):
        file.chmod(0o600)
    return directory


def _prepare_server(path: Path) -> None:
    if not path.exists():
        begin_file(path, migrations.SERVER)
    if (reason := damage_at_start(path)) is not None:
        raise damaged_server(path, reason)
    migrations.upgrade(path, migrations.SERVER)


def damaged_server(path: Path, reason: str) -> StartError:
    """`server.sqlite3` cannot be begun anew: without it nobody may do anything."""
    return StartError(
        f"{path} is damaged ({reason}): restore a backup, or what `sqlite3 {path.name} .recover` saves "
        "of it, as docs/operations.md says"
    )


def prepared(path: Path) -> DataDirectory:
    """The directory, brought up to date where no server does that just now. StartError.

    While a server runs it is up to date, or that server is an older one, which must end first.
    """
    _make(path)
    directory = DataDirectory(path)
    give_up_at = clock.monotonic_seconds() + _PREPARING_SECONDS
    while not directory._is_current():
        try:
            with locked(path, patience_seconds=_LOOK_SECONDS):
                return prepare(path)
        except AlreadyRunningError:
            if clock.monotonic_seconds() > give_up_at:
                raise
    return directory


def existing(path: Path) -> DataDirectory:
    """As `prepared`, of a directory that a server has used. StartError when there is no database.

    A command that began a new one would serve nobody: it was misspelt.
    """
    path = path.absolute()
    try:
        has_database = any((path / name).is_file() for name in _DATABASES)
    except OSError as error:
        remedy = "run this as the server's user, or as root"
        raise StartError(f"{path} cannot be looked into: {error.strerror}; {remedy}") from error
    if not has_database:
        what = f"database in {path}" if path.is_dir() else f"directory {path}"
        raise StartError(f"there is no {what}; name the directory of a server that has run with --data-dir")
    return prepared(path)


def running_address(path: Path) -> str | None:
    """Where the server listens that runs on `path`: "" where it does not say, None where none runs.

    What the lock file says counts while the lock is held: so nothing of a server that was killed does.
    """
    try:
        descriptor = os.open(path / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return os.read(descriptor, _MAX_ADDRESS_BYTES).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)


def say_address(path: Path, url: str) -> None:
    """For `running_address`; of the server that has the lock."""
    with contextlib.suppress(OSError):  # it is a convenience: a full disk must not keep a server from running
        (path / _LOCK).write_text(f"{url}\n", encoding="ascii", errors="replace")


def _make(path: Path) -> None:
    try:
        said = make_private(path)
    except OSError as error:
        raise StartError(
            f"cannot use the data directory {path}: {error.strerror}; choose another with --data-dir"
        ) from error
    if said is not None:
        _logger.warning("%s", said)
    if not os.access(path, os.W_OK | os.X_OK):
        raise StartError(f"the data directory {path} is not writable; choose another with --data-dir")


class AlreadyRunningError(StartError):
    """Somebody else holds the directory."""


@contextlib.contextmanager
def locked(path: Path, *, patience_seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the directory for one server. AlreadyRunningError when another one runs on it.

    A command that prepares a new directory is waited for. The kernel lets go of the lock when the process
    ends, in whatever way.
    """
    _make(path)
    try:
        descriptor = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(
            f"cannot use the data directory {path}: {error.strerror}; choose another with --data-dir"
        ) from error
    try:
        give_up_at = clock.monotonic_seconds() + patience_seconds
        while not _taken(descriptor):
            if clock.monotonic_seconds() > give_up_at:
                raise AlreadyRunningError(
                    f"another stream-server runs on {path}; stop it or choose another --data-dir"
                )
            time.sleep(_LOOK_SECONDS)
        os.ftruncate(descriptor, 0)  # the address of a server before
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
