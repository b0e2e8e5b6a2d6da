"""Whether a SQLite file is damaged, as far as SQLite and the checksums of packets say so."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from stream_server.errors import StartError
from stream_server.storage.checksums import COVERED, row_checksum
from stream_server.storage.tables import table_names
from stream_server.storage.write_ahead_log import is_broken

CHECKED_AT_START_BYTES: Final = 256_000_000
"""A file up to this size is looked through before the server takes requests: it takes a second."""
_DAMAGE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LARGE_TABLES: Final = {"packets"}


def is_damage(error: BaseException | None) -> bool:
    """Whether the file is at fault, and not the disk, a lock or the statement."""
    code = getattr(getattr(error, "orig", None) or error, "sqlite_errorcode", None)
    # The lower byte is the kind of an extended code.
    return isinstance(code, int) and code & 0xFF in _DAMAGE


def damage_of_log(path: Path) -> str | None:
    """Whether SQLite would forget commits of a file without a word.

    To be asked before it opens the file: it takes over as much of the log as it understands, and deletes it.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and is_broken(log.read_bytes()):
        return f"{log.name} has changed in the middle"
    return None


def damage_at_start(path: Path) -> str | None:
    """What is wrong with a file that exists, None for nothing. Of a large one not all is looked at.

    StartError where that cannot be known.
    """
    if not path.stat().st_size:
        return "it is empty"
    return _damage(path, whole=path.stat().st_size <= CHECKED_AT_START_BYTES)


def damage_anywhere(path: Path) -> str | None:
    """What is wrong with a file, which is read from end to end. StartError as above."""
    return _damage(path, whole=True)


def _changed_packet(connection: sqlite3.Connection) -> str | None:
    """SQLite looks at how rows hang together, and not at whether they are what they were."""
    columns = connection.execute("SELECT name FROM pragma_table_info('packets')").fetchall()
    if ("checksum",) not in columns:
        return None
    connection.create_function("row_checksum", len(COVERED), row_checksum, deterministic=True)
    query = f"SELECT id FROM packets WHERE checksum <> row_checksum({', '.join(COVERED)}) LIMIT 1"  # noqa: S608
    found = connection.execute(query).fetchone()
    return None if found is None else f"packet {found[0]} is not what was recorded"


def _changed_sequence(connection: sqlite3.Connection) -> str | None:
    """The numbers that rows go on from stand in a table without a key, where any other's page fits."""
    tables = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall())
    if "sqlite_sequence" not in tables:
        return None
    last = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    is_changed = not last.keys() <= tables.keys()
    for name in (name for name, sql in tables.items() if "AUTOINCREMENT" in sql):
        (highest,) = connection.execute(f'SELECT max(rowid) FROM "{name}"').fetchone()  # noqa: S608
        seen = last.get(name)
        is_changed |= highest is not None and not (isinstance(seen, int) and seen >= highest)
    return "the numbers that rows go on from are not what they were" if is_changed else None


def _damage(path: Path, *, whole: bool) -> str | None:
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
            if whole:
                # Not `quick_check`: a page of one table in the place of another's fits, but for the indices.
                (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
                if verdict != "ok":
                    return str(verdict).splitlines()[-1]
                return _changed_sequence(connection) or _changed_packet(connection)
            for name in table_names(connection) - _LARGE_TABLES:
                (verdict,) = connection.execute(f'PRAGMA integrity_check("{name}")').fetchone()
                if verdict != "ok":
                    return str(verdict).splitlines()[-1]
            for name in _LARGE_TABLES:
                connection.execute(f'SELECT * FROM "{name}" ORDER BY 1 DESC LIMIT 1').fetchall()  # noqa: S608
            return _changed_sequence(connection)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise StartError(f"cannot open the database {path}: {error}") from error
        return str(error)
