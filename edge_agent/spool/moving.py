"""All that is in one spool file, put behind what is in another: where a file has lost its place."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Final

_PACKETS_AT_ONCE: Final = 500
_LANES: Final = "SELECT lane, dongle_id, name FROM lanes"
_STARTS: Final = "SELECT start, start_id, boot_id, boot_wall_ms FROM starts"
_ACTIVATIONS: Final = "SELECT carried, name FROM activations"
_PART: Final = (
    "SELECT p.*, b.body FROM packets p JOIN bodies b ON b.id=p.id WHERE p.id>? ORDER BY p.id LIMIT ?"
)

_FORGET_SAME: Final = (
    "DELETE FROM packets WHERE (lane, start, seq) IN (SELECT lane, start, seq FROM temp.elsewhere)"
)
_FORGET_START: Final = "DELETE FROM packets WHERE start=(SELECT start FROM starts WHERE start_id=?)"

Transaction = Callable[[], AbstractContextManager[sqlite3.Connection]]


def forget_copies(source: sqlite3.Connection, transaction: Transaction, own_starts: Iterable[str]) -> None:
    """Takes out of the file of `transaction` what `source` has too, and all of `own_starts`.

    Where the file is a copy of `source`, each packet would wait, and be acknowledged, twice.
    """
    with transaction() as db:
        lanes, starts = _lanes(db, source), _starts(db, source)
        db.execute(
            "CREATE TEMP TABLE elsewhere (lane, start, seq, PRIMARY KEY (lane, start, seq)) WITHOUT ROWID"
        )
        there = {start for (start,) in db.execute("SELECT DISTINCT start FROM packets")}
        for number, start in starts.items():
            if start in there:
                rows = source.execute("SELECT lane, seq FROM packets WHERE start=?", (number,))
                places = ((lanes[lane], start, seq) for lane, seq in rows)
                db.executemany("INSERT OR IGNORE INTO temp.elsewhere VALUES (?, ?, ?)", places)
        db.execute(_FORGET_SAME)
        db.executemany(_FORGET_START, ((start_id,) for start_id in own_starts))
        db.execute("DELETE FROM bodies WHERE id NOT IN (SELECT id FROM packets)")
        db.execute("DROP TABLE temp.elsewhere")


def copy_all(source: sqlite3.Connection, transaction: Transaction) -> int:
    """Into the file of `transaction`; by how much the numbers of its rows are greater there."""
    with transaction() as db:
        lanes, starts = _lanes(db, source), _starts(db, source)
        activations = _mapped(db, source.execute(_ACTIVATIONS), "activations", "carried", ("name",), 1)
        for lane, start, *known in source.execute("SELECT * FROM ledger"):
            entry = (lanes[lane], starts[start], *known)
            db.execute("INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?, ?)", entry)
        (first,) = source.execute("SELECT ifnull(min(id), 1) FROM packets").fetchone()
        (last,) = db.execute("SELECT ifnull(max(id), 0) FROM packets").fetchone()
    offset = max(0, int(last) + 1 - int(first))
    after = 0
    while rows := source.execute(_PART, (after, _PACKETS_AT_ONCE)).fetchall():
        with transaction() as db:
            for number, lane, start, *rest, carried, born_ms, body in rows:
                place = (number + offset, lanes[lane], starts[start])
                packet = (*place, *rest, activations.get(carried), born_ms)
                db.execute("INSERT INTO packets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", packet)
                db.execute("INSERT INTO bodies VALUES (?, ?)", (number + offset, body))
        after = rows[-1][0]
    return offset


def _lanes(db: sqlite3.Connection, source: sqlite3.Connection) -> dict[int, int]:
    return _mapped(db, source.execute(_LANES), "lanes", "lane", ("dongle_id", "name"), 2)


def _starts(db: sqlite3.Connection, source: sqlite3.Connection) -> dict[int, int]:
    columns = ("start_id", "boot_id", "boot_wall_ms")
    return _mapped(db, source.execute(_STARTS), "starts", "start", columns, 1)


def _mapped(
    db: sqlite3.Connection,
    rows: Iterable[tuple[Any, ...]],
    table: str,
    key: str,
    columns: tuple[str, ...],
    unique: int,
) -> dict[int, int]:
    """Which number each row has in `db`, where its first `unique` columns are what it is known by."""
    numbers = {}
    names, places = ", ".join(columns), ", ".join("?" * len(columns))
    wanted = " AND ".join(f"{name}=?" for name in columns[:unique])
    for number, *values in rows:
        db.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})", values)  # noqa: S608 - fixed text
        found = db.execute(f"SELECT {key} FROM {table} WHERE {wanted}", values[:unique])  # noqa: S608 - fixed text
        (numbers[number],) = found.fetchone()
    return numbers
