"""Tables moved between files as they are, whatever columns they have: an older schema has others."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple

ONE_FILE_TABLES: Final = (
    "agents", "dongles", "services", "signal_tables", "api_tokens", "enrolments", "admin_links", "sessions",
    "audit", "server_state",
)  # fmt: skip
"""What is not the recording's in a file of before."""
_PAGE_ROWS: Final = 500


class ServerPart(NamedTuple):
    """The tables of `server.sqlite3` in a file that has the recording too, and the schema they are of."""

    revision: str
    tables: tuple[str, ...]
    in_backup: bool


def table_names(connection: sqlite3.Connection) -> set[str]:
    """The tables of a file, SQLite's own left out. sqlite3.Error."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite@_%' ESCAPE '@'"
    return {name for (name,) in connection.execute(query)}


def server_part(connection: sqlite3.Connection) -> ServerPart | None:
    """What a file holds besides a recording; None for nothing. sqlite3.Error."""
    names = table_names(connection)
    if "server_part" in names:
        revision, tables = connection.execute("SELECT revision, tables FROM server_part").fetchone()
        return ServerPart(revision, tuple(json.loads(tables)), in_backup=True)
    if "agents" in names:
        return ServerPart("server_0001", ONE_FILE_TABLES, in_backup=False)
    return None


def add_server_part(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Copy `server.sqlite3` into a file with a recording, so that `server_part` finds it. sqlite3.Error."""
    (revision,) = source.execute("SELECT version_num FROM alembic_version").fetchone()
    names = sorted(table_names(source) - {"alembic_version"})
    target.execute("CREATE TABLE server_part (revision TEXT NOT NULL, tables TEXT NOT NULL)")
    target.execute("INSERT INTO server_part VALUES (?, ?)", (revision, json.dumps(names)))
    copy_tables(source, target, names)


def take_server_part(source: sqlite3.Connection, target: sqlite3.Connection, part: ServerPart) -> None:
    """Make `target`, which is empty, the `server.sqlite3` that `source` holds. sqlite3.Error."""
    target.execute(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,"
        " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    )
    target.execute("INSERT INTO alembic_version VALUES (?)", (part.revision,))
    copy_tables(source, target, part.tables)


def copy_tables(source: sqlite3.Connection, target: sqlite3.Connection, names: Iterable[str]) -> None:
    """Copy tables with their rows, indices and the numbers that are used up. sqlite3.Error."""
    for name in names:
        schema = source.execute(
            "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL ORDER BY type DESC", (name,)
        )
        for (sql,) in schema.fetchall():
            target.execute(sql)
        rows = source.execute(f'SELECT * FROM "{name}"')  # noqa: S608 -- a name of the file's own schema
        marks = ", ".join("?" * len(rows.description))
        insert = f'INSERT INTO "{name}" VALUES ({marks})'  # noqa: S608
        while page := rows.fetchmany(_PAGE_ROWS):
            target.executemany(insert, page)
        _copy_sequence(source, target, name)


def _copy_sequence(source: sqlite3.Connection, target: sqlite3.Connection, name: str) -> None:
    """A number that is used up is not given again, though its row is gone: the audit names tokens by it."""
    if not source.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
        return
    for (last,) in source.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (name,)).fetchall():
        target.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
        target.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, last))
