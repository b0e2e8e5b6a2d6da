"""What earlier starts left in the spool's file. Counted in SQLite, for there may be 500 MB of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field

from can_stream.lanes.backlog import Stretch
from can_stream.protocol.lanes_control import LedgerEntry
from edge_agent.lanes.disk_backlog import DiskBacklog
from edge_agent.spool.changes import LaneKey, Moment
from edge_agent.spool.lookup import LookupTables
from edge_agent.spool.row_format import CARRIED, COLUMNS, row_of

LeftStretch = tuple[LaneKey, Stretch]

_SCAN_ROWS: Final = 128
_END_OF_PART: Final = "SELECT max(id) FROM (SELECT id FROM packets WHERE id>=? ORDER BY id LIMIT ?)"
_PART: Final = (
    "SELECT lane, start, min(first_seq), max(seq), sum(seq - first_seq + 1), total(frames),"
    " total(CASE WHEN gap IS NULL THEN 0 ELSE frames END), min(made_ms), count(*), min(id), max(id),"
    " min(position), count(position), max(position + ifnull(frames, 0)), carried"
    " FROM packets WHERE id BETWEEN ? AND ? GROUP BY lane, start, carried ORDER BY min(id)"
)
_LEDGER: Final = "SELECT lane, start, last_seq, frames, acknowledged FROM ledger ORDER BY lane, start"
_ROWS_OF_PART: Final = (
    f"SELECT {COLUMNS} FROM packets p"  # noqa: S608 - fixed text
    " WHERE p.id BETWEEN ? AND ? AND p.lane=? AND p.start=? AND p.carried IS ? ORDER BY p.id"
)


class LeftLane(Struct, frozen=True):
    """What earlier starts left of one lane."""

    backlog: DiskBacklog = field(default_factory=DiskBacklog)
    ledger: list[LedgerEntry] = field(default_factory=list)


def left_lanes(db: sqlite3.Connection, tables: LookupTables, now: Moment) -> dict[LaneKey, LeftLane]:
    """All of it."""
    keys = tables.keys()
    left = {key: LeftLane() for key in keys.values()}
    for lane, start, *known in db.execute(_LEDGER):
        left[keys[lane]].ledger.append(LedgerEntry(tables.start_of(start).start_id, *map(int, known)))
    for key, stretch in _stretches(db, tables, now):
        left[key].backlog.append(stretch)
    return left


def _stretches(db: sqlite3.Connection, tables: LookupTables, now: Moment) -> Iterator[LeftStretch]:
    """Many rows at a time, and one by one where they are not of one kind."""
    keys = tables.keys()
    last = 0
    while True:
        first = last + 1
        (last,) = db.execute(_END_OF_PART, (first, _SCAN_ROWS)).fetchone()
        if last is None:
            return
        for lane, start, first_seq, seq, numbers, *rest in db.execute(_PART, (first, last)).fetchall():
            key, start_id = keys[lane], tables.start_of(start).start_id
            frames, lost_frames, made_ms, packets, first_row, last_row, position, places, end, carried = rest
            if numbers != seq - first_seq + 1 or not _is_one(places, packets, position, end, int(frames)):
                for stretch in _single_stretches(db, tables, (first, last, lane, start, carried), now):
                    yield key, stretch
                continue
            made_at = made_ms / 1000 if tables.is_of_this_boot(start) else None
            rows = (first_row, last_row, tables.activation_of(carried))
            counts = (int(frames), int(lost_frames), made_at, packets, *rows)
            yield key, Stretch(start_id, int(first_seq), int(seq), position, *counts)


def _is_one(places: int, packets: int, position: int | None, end: int | None, frames: int) -> bool:
    """Whether the positions of packets of consecutive numbers are consecutive too: all of them, or none."""
    return places == 0 or (places == packets and end == (position or 0) + frames)


def _single_stretches(
    db: sqlite3.Connection, tables: LookupTables, part: tuple[int | None, ...], now: Moment
) -> Iterator[Stretch]:
    for columns in db.execute(_ROWS_OF_PART, part):
        start = columns[2]
        row = row_of(columns, tables.starts[start], now)
        frames = row.frames or 0
        lost_frames = frames if row.gap is not None else 0
        made_at = row.made_at_seconds if tables.is_of_this_boot(start) else None
        activation = tables.activation_of(columns[CARRIED])
        counts = (frames, lost_frames, made_at, 1, row.row, row.row, activation)
        yield Stretch(row.number.start_id, row.first_seq, row.number.seq, row.position, *counts)
