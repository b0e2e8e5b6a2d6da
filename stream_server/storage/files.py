"""Files that appear, and change their names, whole."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

from stream_server.errors import StartError
from stream_server.storage import migrations
from stream_server.storage.database import BUSY_TIMEOUT_MS

NEW: Final = ".new"
BUSY_SECONDS: Final = BUSY_TIMEOUT_MS / 1000


def begin_file(path: Path, history: migrations.History) -> None:
    """An empty file of the present schema, there when it is whole: one of no bytes is a sign of damage."""
    new = path.with_name(f"{path.name}{NEW}")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    migrations.upgrade(new, history)
    settle(new)
    new.rename(path)
    sync_directory(path.parent)


def settle(path: Path) -> None:
    """Everything of a database into its file: the log beside it cannot follow to a new name. StartError."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise StartError(f"{path} cannot be renamed while another program has it open: {error}") from error


def sync_directory(path: Path) -> None:
    """A power cut keeps the order of what was renamed before and after."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
