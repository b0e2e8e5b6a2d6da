"""What a failure of SQLite or of the file system means for the spool, and what to do about it."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edge_agent.errors import SpoolError
from edge_agent.spool.directory import FILE_NAME

_IN_USE: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
# An unknown column, say, is an ERROR: somebody else's file, or one that was damaged.
_CORRUPT: Final = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_SCHEMA,
        sqlite3.SQLITE_TOOBIG,
    }
)
_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: ("the disk is full", "free some space"),
    sqlite3.SQLITE_READONLY: (
        "it cannot be written",
        "mount it writable and let the agent's user write there",
    ),
    sqlite3.SQLITE_PERM: ("it may not be used", "let the agent's user read and write there"),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "let the agent's user read and write there"),
}
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def spool_errors(directory: Path) -> Iterator[None]:
    """Makes a SpoolError of whatever SQLite, the file system or what is in the file raises inside."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _of_failure(directory, error) from error
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise _corrupt(directory, f"{error}") from error


def _of_failure(directory: Path, error: sqlite3.Error | OSError) -> SpoolError:
    if isinstance(error, OSError):
        if error.errno in _FULL:
            return _of_code(directory, sqlite3.SQLITE_FULL, "")
        reason = error.strerror or str(error)
        return SpoolError(directory, reason, "make it a directory that the agent's user can write")
    # A fault of the module itself has no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _CORRUPT or (code == sqlite3.SQLITE_READONLY and _is_writable(directory)):
        return _corrupt(directory, str(error))
    return _of_code(directory, code, str(error))


def _is_writable(directory: Path) -> bool:
    """Whether it is the file alone that says it is not: a damaged header does."""
    return all(os.access(path, os.W_OK) for path in (directory, directory / FILE_NAME))


def _corrupt(directory: Path, reason: str) -> SpoolError:
    return SpoolError(directory, f"it cannot be read ({reason})", "a new one is made", is_corrupt=True)


def _of_code(directory: Path, code: int, text: str) -> SpoolError:
    if code in _IN_USE:
        reason = "another agent uses this spool"
        return SpoolError(directory, reason, "give each its own `directory` in [spool]", is_in_use=True)
    reason, remedy = _REMEDIES.get(
        code, (f"the disk fails ({text})", "check it with `dmesg`, and replace it")
    )
    return SpoolError(directory, reason, remedy, is_full=code == sqlite3.SQLITE_FULL)
