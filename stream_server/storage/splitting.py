"""One file becomes two: a data directory of before, and a backup, which is one file for whoever carries it.

What is large stays where it is: the small tables are copied out into `server.sqlite3`, and the file that is
left becomes `recording.sqlite3`. Interrupted anywhere, it goes on at the next start; its state shows:

    the one file is whole                        nothing is done, whatever `server.sqlite3.new` holds
    it has only the recording                    `server.sqlite3.new` is complete, and takes its place
    it is a note that says where everything is   done
"""

from __future__ import annotations

import contextlib
import enum
import sqlite3
from pathlib import Path
from typing import Final

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from stream_server.errors import StartError
from stream_server.storage import migrations
from stream_server.storage.database import open_engine
from stream_server.storage.files import NEW, settle, sync_directory
from stream_server.storage.tables import ServerPart, server_part, table_names, take_server_part

SINGLE: Final = "stream-server.sqlite3"
SERVER: Final = "server.sqlite3"
RECORDING: Final = "recording.sqlite3"
# A server that knows the one file alone takes this for a schema of the future, and says so.
NOTE_REVISION: Final = "two_files"
_NOTE_BYTES: Final = 65_536


class _Single(enum.Enum):
    """What the file that once was the only one holds."""

    MISSING = enum.auto()
    WHOLE = enum.auto()
    RECORDING_ONLY = enum.auto()
    NOTE = enum.auto()


def is_split(path: Path) -> bool:
    """Whether nothing is left to do in the directory. StartError where a newer server has used it."""
    return (path / SERVER).exists() and (path / RECORDING).exists() and _single(path) is _Single.NOTE


def split(path: Path) -> None:
    """Leave no one file in the directory but the note. Needs the directory's lock. StartError."""
    single, server, recording = path / SINGLE, path / SERVER, path / RECORDING
    found = _single(path)
    if found is _Single.WHOLE:
        for other in (server, recording):
            if other.exists():
                raise StartError(
                    f"{path} holds two servers' data, {single.name} and {other.name}: a backup is restored "
                    "into an empty directory; move what is not wanted out of this one"
                )
        _take_apart(single, path / f"{SERVER}{NEW}")
        found = _Single.RECORDING_ONLY
    if found is _Single.RECORDING_ONLY:
        settle(single)
        _put_in_place(single, path / f"{SERVER}{NEW}", server, recording)
    elif recording.exists() and not server.exists():
        raise StartError(
            f"{server} is missing, beside {recording.name}: put it back, or restore a backup as "
            "docs/operations.md says"
        )
    if found is not _Single.NOTE:
        _leave_note(single)


def _single(path: Path) -> _Single:
    single = path / SINGLE
    if not single.exists():
        return _Single.MISSING
    try:
        with contextlib.closing(sqlite3.connect(single)) as connection:
            names = table_names(connection)
            if server_part(connection) is not None:
                return _Single.WHOLE
            if "packets" in names:
                return _Single.RECORDING_ONLY
            if "alembic_version" not in names:
                return _Single.MISSING
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        if (path / SERVER).exists() and single.stat().st_size <= _NOTE_BYTES:
            return _Single.MISSING  # a note that is damaged is written anew
        raise StartError(
            f"cannot open the database {single}: {error}; restore a backup, as docs/operations.md says"
        ) from error
    if revision != NOTE_REVISION:
        raise StartError(f"{path} was used by a newer stream-server ({revision}); install that version")
    return _Single.NOTE


def _take_apart(single: Path, new_server: Path) -> None:
    """Copy the small tables out, then take them away; nothing is changed unless both are done."""
    new_server.unlink(missing_ok=True)
    engine = open_engine(single, foreign_keys=False)
    try:
        with engine.begin() as connection:
            if (migrations.revision(connection) or "") < migrations.LAST_OF_ONE_FILE:
                migrations.upgrade_on(connection, migrations.RECORDING, migrations.LAST_OF_ONE_FILE)
        # The transaction keeps out whoever else writes; the reader sees what was before it.
        with engine.begin() as connection, contextlib.closing(sqlite3.connect(single)) as reader:
            part = server_part(reader)
            assert part is not None
            _write_server(reader, new_server, part)
            if part.in_backup:
                for name in (*part.tables, "server_part"):
                    connection.exec_driver_sql(f'DROP TABLE "{name}"')
            migrations.upgrade_on(connection, migrations.RECORDING)
    except CommandError as error:
        raise StartError(
            f"{single} was written by a newer stream-server ({error}); install that version"
        ) from error
    except (DBAPIError, sqlite3.Error) as error:
        raise StartError(f"cannot open the database {single}: {getattr(error, 'orig', error)}") from error
    finally:
        engine.dispose()


def _write_server(reader: sqlite3.Connection, path: Path, part: ServerPart) -> None:
    path.touch(mode=0o600)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as new:
        new.execute("BEGIN")
        take_server_part(reader, new, part)
        new.execute("COMMIT")
    sync_directory(path.parent)


def _put_in_place(single: Path, new_server: Path, server: Path, recording: Path) -> None:
    if new_server.exists():
        new_server.rename(server)
    sync_directory(single.parent)
    try:
        # With a second name the first is never missing: a server of before would begin an empty file there.
        recording.hardlink_to(single)
    except FileExistsError:
        if not recording.samefile(single):
            raise StartError(
                f"{recording} and {single.name} are two recordings; move one of them away"
            ) from None
    except OSError:
        single.rename(recording)  # a file system without links
    sync_directory(single.parent)


def _leave_note(single: Path) -> None:
    """In place of the one file: a server of before refuses it as one of a newer server."""
    new = single.with_name(f"{SINGLE}{NEW}")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as note:
        note.execute("BEGIN")
        note.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        note.execute("INSERT INTO alembic_version VALUES (?)", (NOTE_REVISION,))
        note.execute("CREATE TABLE note (text TEXT)")
        note.execute("INSERT INTO note VALUES (?)", (f"the data is in {SERVER} and {RECORDING}",))
        note.execute("COMMIT")
    new.replace(single)
    sync_directory(single.parent)
