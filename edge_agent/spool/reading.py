"""What is asked of the spool's file while the agent runs: packets to send, and the oldest."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from typing import Final

from edge_agent.lanes.backlog_reader import Fetch
from edge_agent.lanes.disk_backlog import SpoolRow
from edge_agent.spool.changes import LaneKey, Moment
from edge_agent.spool.lookup import LookupTables
from edge_agent.spool.row_format import CARRIED, COLUMNS, Columns, row_of, with_body

TRIM_ROWS: Final = 64
_FETCH_PACKETS: Final = 64
_FETCH_BYTES: Final = 256 * 1024
_BODIES: Final = (
    f"SELECT {COLUMNS}, b.body FROM packets p JOIN bodies b ON b.id=p.id"  # noqa: S608 - fixed text
    " WHERE p.id>? AND p.id<=? AND p.lane=? ORDER BY p.id"
)
_OLDEST_DATA: Final = (
    "SELECT p.id, length(b.body) FROM packets p JOIN bodies b ON b.id=p.id"
    " WHERE p.gap IS NULL AND p.frames>0 ORDER BY p.id LIMIT ?"
)
_BETWEEN: Final = f"SELECT {COLUMNS} FROM packets p WHERE id BETWEEN ? AND ? ORDER BY id"  # noqa: S608 - fixed text
_LAST_BEFORE: Final = f"SELECT {COLUMNS} FROM packets p WHERE id<? AND lane=? ORDER BY id DESC LIMIT 1"  # noqa: S608 - fixed text
_FIRST_BEFORE: Final = f"SELECT {COLUMNS} FROM packets p WHERE id<? ORDER BY id LIMIT ?"  # noqa: S608 - fixed text


def fetched(
    db: sqlite3.Connection, tables: LookupTables, key: LaneKey, fetch: Fetch, now: Moment
) -> list[SpoolRow]:
    """The packets of the interval, in order, as many as are comfortable."""
    found = db.execute(_BODIES, (fetch.after_row, fetch.through_row, tables.lane(key)))
    rows: list[SpoolRow] = []
    size = 0
    with contextlib.closing(found):
        for *columns, body in found:
            row = _row(tables, tuple(columns), now)
            if row.number.start_id != fetch.start_id or row.first_seq > fetch.last_seq:
                break
            rows.append(with_body(row, body))
            size += len(rows[-1].packet)
            if len(rows) >= _FETCH_PACKETS or size >= _FETCH_BYTES:
                break
    return rows


def oldest(
    db: sqlite3.Connection, tables: LookupTables, now: Moment, wanted_bytes: int | None
) -> dict[LaneKey, list[SpoolRow]]:
    """The oldest packets that are no gaps, with the gaps between and right before them; no bodies.

    Not many at once, and no more than take up `wanted_bytes`.
    """
    ids: list[int] = []
    size = 0
    for number, length in db.execute(_OLDEST_DATA, (TRIM_ROWS,)):
        if wanted_bytes is not None and size >= wanted_bytes:
            break
        ids.append(number)
        size += length
    if not ids:
        return {}
    found = _by_lane(tables, db.execute(_BETWEEN, (ids[0], ids[-1])), now)
    for lane, rows in found.items():
        for columns in db.execute(_LAST_BEFORE, (ids[0], lane)).fetchall():
            rows.insert(0, _row(tables, columns, now))
    return _by_key(tables, found)


def oldest_gaps(
    db: sqlite3.Connection, tables: LookupTables, now: Moment, most: int, next_row: int
) -> dict[LaneKey, list[SpoolRow]]:
    """Where gaps that are older than all packets are more than `most`: the oldest, not many at once.

    `next_row` is the end of what is looked at where there are no packets.
    """
    (first,) = db.execute("SELECT min(id) FROM packets WHERE gap IS NULL").fetchone()
    found = db.execute(_FIRST_BEFORE, (first or next_row, most + TRIM_ROWS)).fetchall()
    return _by_key(tables, _by_lane(tables, found[: max(0, len(found) - most)], now))


def _row(tables: LookupTables, columns: Columns, now: Moment) -> SpoolRow:
    return row_of(columns, tables.start_of(columns[2]), now, tables.activation_of(columns[CARRIED]))


def _by_lane(tables: LookupTables, found: Iterable[Columns], now: Moment) -> dict[int, list[SpoolRow]]:
    rows: dict[int, list[SpoolRow]] = {}
    for columns in found:
        rows.setdefault(columns[1], []).append(_row(tables, columns, now))
    return rows


def _by_key(tables: LookupTables, found: dict[int, list[SpoolRow]]) -> dict[LaneKey, list[SpoolRow]]:
    keys = tables.keys()
    return {keys[lane]: rows for lane, rows in found.items()}
