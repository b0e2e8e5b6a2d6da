"""Whether a SQLite file is damaged, as far as SQLite says so."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from stream_server.errors import StartError
from stream_server.storage.tables import table_names

CHECKED_AT_START_BYTES: Final = 256_000_000
"""A file up to this size is looked through before the server takes requests: it takes a second."""
_DAMAGE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LARGE_TABLES: Final = {"packets"}


def is_damage(error: BaseException | None) -> bool:
    """Whether the file is at fault, and not the disk, a lock or the statement."""
    code = getattr(getattr(error, "orig", None) or error, "sqlite_errorcode", None)
    # The lower byte is the kind of an extended code.
    return isinstance(code, int) and code & 0xFF in _DAMAGE


def damage_at_start(path: Path) -> str | None:
    """What is wrong with a file that exists, None for nothing. Of a large one not all is looked at.

    StartError where that cannot be known.
    """
    if not path.stat().st_size:
        return "it is empty"
    return _damage(path, whole=path.stat().st_size <= CHECKED_AT_START_BYTES)


def damage_anywhere(path: Path) -> str | None:
    """What is wrong with the structure of a file, which is read from end to end. StartError as above."""
    return _damage(path, whole=True)


def _damage(path: Path, *, whole: bool) -> str | None:
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
            if whole:
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                return None if verdict == "ok" else str(verdict).splitlines()[-1]
            for name in table_names(connection) - _LARGE_TABLES:
                connection.execute(f'SELECT * FROM "{name}"').fetchall()  # noqa: S608 -- of the file's schema
            for name in _LARGE_TABLES:
                connection.execute(f'SELECT * FROM "{name}" ORDER BY 1 DESC LIMIT 1').fetchall()  # noqa: S608
    except sqlite3.Error as error:
        if not is_damage(error):
            raise StartError(f"cannot open the database {path}: {error}") from error
        return str(error)
    return None
