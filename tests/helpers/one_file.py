"""A data directory as servers of before left it: everything in one file."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Final

from alembic import command

from stream_server.storage import migrations, splitting
from stream_server.storage.database import open_engine
from stream_server.storage.tables import ONE_FILE_TABLES, table_names

REVISIONS: Final = ("0001", "0002", migrations.LAST_OF_ONE_FILE)
PACKETS: Final = 50
_ROWS: Final = (
    "INSERT INTO agents (agent_id, token_hash, created_at_ns) VALUES ('van7', 'hash', 7)",
    "INSERT INTO dongles (dongle_id, agent_id, interface, channel, mode, fd, listed, created_at_ns)"
    " VALUES ('van7-can0', 'van7', 'log', 'can0', 'normal', 0, 1, 7)",
    "INSERT INTO services VALUES ('van7', 'uplink', 's', 'Uplink', 'uplink', 0, 'OK', '', 'now', '{}')",
    "INSERT INTO api_tokens (id, token_hash, role, created_at_ns) VALUES (1, 'a', '', 1), (2, 'b', '', 1)",
    "DELETE FROM api_tokens WHERE id = 2",
    "INSERT INTO audit (at_ns, actor, action, subject) VALUES (1, 'me', 'token.create', 'token:2')",
    "INSERT INTO server_state VALUES ('id_reservation_us', '77')",
    "INSERT INTO lanes VALUES (1, 'van7-can0', 'frames')",
    "INSERT INTO lane_starts (id, lane_id, start_id, taken, packets) VALUES (1, 1, 's', '[[1,50]]', 50)",
    "INSERT INTO holes VALUES (1, 1, 51, 52, 9, 0)",
)  # fmt: skip
_NOT_IN_BOTH: Final = {
    "alembic_version", "server_state", "recording_state", "holes", "gaps", "hole_closings",
}  # fmt: skip
_COLUMNS_OF_BEFORE: Final = {
    "packets": "id, start_pk, seq, first_seq, kind, frames, first_ns, last_ns, received_ns, is_backlog,"
    " size_bytes, body",
    "lane_starts": "id, lane_id, start_id, taken, packets, frames, bytes",
    "agents": "agent_id, token_hash, version, created_at_ns, last_seen_at_ns, start_id, boot_id,"
    " clock_synchronised, remote",
    "enrolments": "id, token_hash, agent_id, uses_left, created_at_ns",
    "audit": "id, at_ns, actor, action, subject, remote, before, after",
}


_COMPARED: Final = {
    *ONE_FILE_TABLES, "lanes", "lane_starts", "holes", "packets", "last_values", "clock_records",
    "retention_totals",
} - {"server_state"}  # fmt: skip


def directory_of_before(path: Path, revision: str = migrations.LAST_OF_ONE_FILE) -> Path:
    """The file in a new directory, with an agent, users, an audit and `PACKETS` packets."""
    path.mkdir(exist_ok=True)
    file = path / splitting.SINGLE
    config = migrations.RECORDING.config()
    engine = open_engine(file, foreign_keys=False)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    with contextlib.closing(sqlite3.connect(file)) as plain, plain:
        for row in _ROWS:
            plain.execute(row)
        packets = [(number, number, bytes([number]) * 500) for number in range(1, PACKETS + 1)]
        plain.executemany("INSERT INTO packets VALUES (?, 1, ?, 1, 0, 1, 0, 0, 0, 0, 500, ?)", packets)
    return file


def rows(*files: Path) -> dict[str, list[Any]]:
    """What every table that both layouts have holds, whichever file it is in; with the numbers used up."""
    found: dict[str, list[Any]] = {}
    for file in files:
        with contextlib.closing(sqlite3.connect(file)) as plain:
            for name in table_names(plain) & _COMPARED - _NOT_IN_BOTH:
                assert name not in found, f"{name} is there twice"
                columns = _COLUMNS_OF_BEFORE.get(name, "*")
                found[name] = plain.execute(f'SELECT {columns} FROM "{name}" ORDER BY 1, 2').fetchall()
            for name, last in plain.execute("SELECT name, seq FROM sqlite_sequence"):
                found[f"last {name}"] = [last]
    return found


def is_whole(file: Path) -> bool:
    """Whether a server of before can go on with the file, as it did."""
    with contextlib.closing(sqlite3.connect(file)) as plain:
        (revision,) = plain.execute("SELECT version_num FROM alembic_version").fetchone()
        names = table_names(plain)
    return revision in REVISIONS and {*ONE_FILE_TABLES, "packets"} <= names
