"""What is in the spool's file: one packet per row. Everything here blocks, and belongs to one thread.

What is looked at when the agent starts or has to make room (`packets`) lies apart from what is sent
(`bodies`), so that neither reads 500 MB. Bodies are deflated one by one: 2 to 4 times smaller for 0.1 to
0.3 us per frame.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from can_stream.lanes.backlog import Stretch
from can_stream.protocol.lanes_control import MAX_STARTS
from edge_agent.errors import SpoolError
from edge_agent.lanes.backlog_reader import Fetch
from edge_agent.lanes.disk_backlog import SpoolRow
from edge_agent.spool.changes import Changes, KeptEntry, LaneKey, Moment
from edge_agent.spool.errors import spool_errors
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.left import LeftLane, left_lanes
from edge_agent.spool.lookup import LookupTables
from edge_agent.spool.moving import copy_all, forget_copies
from edge_agent.spool.reading import fetched, oldest, oldest_gaps
from edge_agent.spool.row_format import body_of, columns_of

__all__ = ["Changes", "LaneKey", "Moment", "SpoolStore"]

_logger: Final = logging.getLogger(__name__)
_PUT_PACKET: Final = "INSERT OR REPLACE INTO packets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_GAP_BYTES: Final = 160
"""What a gap takes on disk, its share of pages and indexes included."""
# Of each lane the newest: more than a hello has room for is of no use.
_FORGET_OLD_ENTRIES: Final = (
    "DELETE FROM ledger AS old WHERE (SELECT count(*) FROM ledger AS newer"
    " WHERE newer.lane=old.lane AND newer.start>old.start) >= ?"
)
_FORGET_STARTS: Final = (
    "DELETE FROM starts WHERE start NOT IN (SELECT start FROM packets)"
    " AND start NOT IN (SELECT start FROM ledger)"
)
_FORGET_ACTIVATIONS: Final = (
    "DELETE FROM activations WHERE carried NOT IN (SELECT carried FROM packets WHERE carried IS NOT NULL)"
)
_STRETCH: Final = "id BETWEEN ? AND ? AND lane=? AND start=? AND seq BETWEEN ? AND ?"


class SpoolStore:
    """The packets in the file; whatever raises SpoolError, it must be closed then and made anew."""

    def __init__(
        self, directory: Path, max_bytes: int, now: Moment, reserve_bytes: int | None = None
    ) -> None:
        self.max_bytes = max_bytes
        self._directory = directory
        with spool_errors(directory):
            self._file = SpoolFile(directory, max_bytes, reserve_bytes)
        self.next_row = self._file.next_row
        self._boot_id = now.boot_id
        self._tables = LookupTables(self._file.db, now.boot_id)

    @property
    def transaction_bytes(self) -> int:
        """What always fits into one transaction."""
        return self._file.transaction_bytes

    def close(self) -> None:
        """Writes the log back where that is possible. Never raises."""
        self._file.close()

    def sync(self) -> None:
        """What was written lasts through a power cut from now on."""
        with spool_errors(self._directory):
            self._file.sync()

    def look(self) -> str:
        """Makes a log that is gone anew; what is wrong until that can be done, else nothing.

        Raises SpoolError where the file itself is gone from its place, or was cut.
        """
        with spool_errors(self._directory):
            if not self._file.is_in_place:
                reason = "its file was deleted, or something else was put in its place"
                raise SpoolError(self._directory, reason, "what waits is moved there", is_gone=True)
            if self._file.is_cut:
                raise ValueError("it was cut short")
            if self._file.is_log_in_place:
                return ""
        try:
            self._file.make_log_anew()
        except (sqlite3.Error, OSError) as error:  # it is open, and goes on: closed, it would be lost
            return f"{self._directory}: its log was deleted, and cannot be made anew yet ({error})"
        _logger.warning("%s: its log was deleted and is made anew; nothing is lost", self._directory)
        return ""

    def close_emptied(self) -> None:
        """Where all is elsewhere: if its file comes back to its place, nothing is in it. Never raises."""
        with contextlib.suppress(sqlite3.Error), self._file.transaction() as db:
            db.execute("DELETE FROM packets")
            db.execute("DELETE FROM bodies")
        self._file.close()

    def forget_copies(self, other: SpoolStore, own_starts: Iterable[str]) -> None:
        """What is in `other` too, and all of these starts, is here no more."""
        with spool_errors(self._directory):
            forget_copies(other._file.db, self._file.transaction, own_starts)
            self._tables = LookupTables(self._file.db, self._boot_id)

    def copy_from(self, other: SpoolStore) -> int:
        """All that is in `other`, behind what is here; by how much its rows have greater numbers here."""
        with spool_errors(self._directory):
            offset = copy_all(other._file.db, self._file.transaction)
            self._tables = LookupTables(self._file.db, self._boot_id)
            return offset

    # -- at the start

    def left(self, now: Moment) -> dict[LaneKey, LeftLane]:
        """What is there."""
        with spool_errors(self._directory):
            with self._file.transaction() as db:
                db.execute(_FORGET_OLD_ENTRIES, (MAX_STARTS,))
                db.execute(_FORGET_STARTS)
                db.execute(_FORGET_ACTIVATIONS)
                self._tables.read_starts()
            return left_lanes(self._file.db, self._tables, now)

    # -- while running

    def apply(self, changes: Changes, now: Moment) -> int:
        """One transaction; by how many bytes the file then is larger than it may stay."""
        with spool_errors(self._directory):
            if changes.grows:
                self._file.check_reserve()
            with self._file.transaction() as db:
                _write(db, self._tables, changes, now)
            return self._file.excess_bytes()

    def fetch(self, key: LaneKey, fetch: Fetch, now: Moment) -> list[SpoolRow]:
        """The packets of the interval, in order, as many as are comfortable."""
        with spool_errors(self._directory):
            return fetched(self._file.db, self._tables, key, fetch, now)

    def oldest(self, now: Moment, wanted_bytes: int | None = None) -> dict[LaneKey, list[SpoolRow]]:
        """The oldest packets that are no gaps, with the gaps between and right before them; no bodies.

        Not many at once, and no more than take up `wanted_bytes`.
        """
        with spool_errors(self._directory):
            return oldest(self._file.db, self._tables, now, wanted_bytes)

    def oldest_gaps(self, now: Moment) -> dict[LaneKey, list[SpoolRow]]:
        """The oldest gaps, where gaps are a quarter of what may be here; they are older than all packets."""
        most = self.max_bytes // 4 // _GAP_BYTES
        with spool_errors(self._directory):
            return oldest_gaps(self._file.db, self._tables, now, most, self.next_row)


def _write(db: sqlite3.Connection, tables: LookupTables, changes: Changes, now: Moment) -> None:
    gone = [(row,) for row in changes.deletes]
    db.executemany("DELETE FROM packets WHERE id=?", gone)
    db.executemany("DELETE FROM bodies WHERE id=?", gone)
    for key, stretch in changes.delete_stretches:
        _delete_stretch(db, tables, key, stretch)
    for key, row in changes.puts:
        place = tables.lane(key), tables.start(row.number.start_id, now)
        columns = columns_of(row, *place, tables.carried(row.activation))
        db.execute(_PUT_PACKET, columns)
        db.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?)", (row.row, body_of(row)))
    _put_entries(db, tables, changes.ledger, now)


def _delete_stretch(db: sqlite3.Connection, tables: LookupTables, key: LaneKey, stretch: Stretch) -> None:
    start = db.execute("SELECT start FROM starts WHERE start_id=?", (stretch.start_id,)).fetchone()
    lane, (number,) = tables.lane(key), start or (0,)
    wanted = (stretch.first_row, stretch.last_row, lane, number, stretch.first_seq, stretch.last_seq)
    db.execute(f"DELETE FROM bodies WHERE id IN (SELECT id FROM packets WHERE {_STRETCH})", wanted)  # noqa: S608 - fixed text
    db.execute(f"DELETE FROM packets WHERE {_STRETCH}", wanted)  # noqa: S608 - fixed text


def _put_entries(
    db: sqlite3.Connection, tables: LookupTables, entries: Iterable[KeptEntry], now: Moment
) -> None:
    for key, entry in entries:
        place = (tables.lane(key), tables.start(entry.start_id, now))
        known = (entry.last_seq, entry.frames, entry.acknowledged)
        db.execute("INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?, ?)", (*place, *known))
