"""What can be read of a damaged recording goes into the new one, before any agent is answered.

Lanes and what is taken of them come first: nothing may be recorded twice. Then the packets, page by page;
what is killed goes on at the page it was at. What was taken and cannot be read is taken no longer: an agent
that still has it sends it, and a hole stands for it until then.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, func, insert, select

from can_stream.protocol.errors import PacketError
from can_stream.protocol.packets import decode_packet
from stream_server.storage import kept_facts, recording_schema
from stream_server.storage.checksums import checksum_of, is_body_unchanged, is_unchanged
from stream_server.storage.damaged_file import DamagedFile
from stream_server.storage.recording_schema import lane_starts, lanes, packet_blocks, packets
from stream_server.storage.sqlite_pages import LEAF_TABLE, Cell, Value
from stream_server.storage.table_shape import TableShape, only_table, shape_of

PAGES_AT_ONCE: Final = 256
SPARE_BYTES: Final = 200_000_000
"""As long as the disk has less, packets stay where they are: what is recorded now comes first."""
Row = dict[str, Value]
# A row that was written before a column was added does not have it.
_NEEDED: Final = {column.name for column in packets.c if not column.nullable}
_LATER: Final[Row] = {column.name: None for column in packets.c if column.nullable}


class Unknown(NamedTuple):
    """What a damaged file no longer says: what retention deleted, and what all its starts had taken."""

    totals_lost: bool
    starts_lost: bool


@dataclass(slots=True)
class Salvage:
    """One damaged file on its way into the new recording, on connections that enforce no foreign keys."""

    file: DamagedFile
    shapes: dict[str, TableShape]
    starts: dict[int, str] = field(default_factory=dict)

    @classmethod
    def begin(cls, connection: Connection, file: DamagedFile) -> Salvage:
        """Ready to read a file into the recording of `connection`."""
        shapes = {}
        for name in recording_schema.metadata.tables:
            info = connection.exec_driver_sql(f'PRAGMA table_info("{name}")').all()
            shapes[name] = shape_of([tuple(column) for column in info])
        return cls(file, shapes)

    def take_state(self, connection: Connection) -> Unknown:
        """Everything but packets, in one transaction. Returns what the file does not say any more."""
        found = self._small_rows()
        for table in recording_schema.metadata.sorted_tables:
            if table is packet_blocks:  # made anew: one that is wrong would hide packets
                continue
            for row in found.get(table.name, ()):
                connection.execute(insert(table).prefix_with("OR IGNORE").values(row))
        starts_lost = self._starts_of_indices(connection) or not self.file.has_root("lane_starts")
        starts_lost |= _forget_orphans(connection)
        self._number_on(connection)
        totals_lost = not found.get("retention_totals") and not self.file.has_root("retention_totals")
        return Unknown(totals_lost, starts_lost)

    def load_starts(self, connection: Connection) -> None:
        """Which starts packets can be of."""
        query = select(lane_starts.c.id, lane_starts.c.start_id)
        self.starts = {row.id: row.start_id for row in connection.execute(query)}

    def take_packets(self, connection: Connection, first_page: int) -> int:
        """The packets of some pages; returns the page to go on with, beyond the last one when all is done."""
        end = min(first_page + PAGES_AT_ONCE, self.file.pages + 1)
        rows = [row for number in range(first_page, end) for row in self._packets_of(number)]
        if rows:
            connection.execute(insert(packets).prefix_with("OR IGNORE"), rows)
        return end

    def _packets_of(self, number: int) -> Iterator[Row]:
        if not self._may_hold(number, "packets"):
            return
        for cell in self.file.rows(number):
            row = self.shapes["packets"].row(cell)
            if row is not None and row.keys() >= _NEEDED and self._is_packet(row):
                yield _LATER | row

    def _is_packet(self, row: Row) -> bool:
        """SQLite does not know whether the bytes of a packet are what they were; packet and checksum do.

        What stands beside a body that is whole is mended as far as the packet says it.
        """
        start_pk, body = row["start_pk"], row["body"]
        assert isinstance(start_pk, int)
        assert isinstance(body, bytes)
        if not is_body_unchanged(row):
            return False
        try:
            packet = decode_packet(body)
        except PacketError:
            return False
        if not is_unchanged(row):
            seq, frames = packet.number.seq, packet.frames or 0
            row |= {"seq": seq, "first_seq": seq, "kind": int(packet.kind), "frames": frames}
            row |= {"position": packet.position, "size_bytes": len(body)}
            row["checksum"] = checksum_of(row)
        return (self.starts.get(start_pk), row["seq"], row["kind"]) == (*packet.number, packet.kind)

    def _may_hold(self, number: int, table: str) -> bool:
        owner = self.file.owner(number)
        if owner != table and (owner is not None or self.file.is_free(number)):
            return False
        return self.file.kind(number) == LEAF_TABLE

    def _small_rows(self) -> dict[str, list[Row]]:
        owned: dict[str, list[Row]] = {}
        strayed: dict[str, list[Row]] = {}
        for number in range(1, self.file.pages + 1):
            owner = self.file.owner(number)
            if owner == "packets" or self.file.is_free(number) or self.file.kind(number) != LEAF_TABLE:
                continue
            for cell in self.file.rows(number):
                name = owner if owner is not None else only_table(self.shapes, cell)
                if name in self.shapes and name != "packets":
                    row = self.shapes[name].row(cell)
                    if row is not None and _is_sound(name, row):
                        (owned if owner else strayed).setdefault(name, []).append(row)
        # What a tree leads to comes before a page that may be a copy of what it once was.
        return {name: owned.get(name, []) + strayed.get(name, []) for name in {*owned, *strayed}}

    def _starts_of_indices(self, connection: Connection) -> bool:
        """A row of a lane or a start that is lost stands in its index too; what was taken of it does not.

        Returns whether there was such a start.
        """
        before = connection.execute(select(func.count()).select_from(lane_starts)).scalar_one()
        for cell in self.file.index_entries("lanes"):
            row = _fitting(cell, ("dongle_id", str), ("lane", str))
            if row is not None:
                connection.execute(insert(lanes).prefix_with("OR IGNORE").values(id=cell.rowid, **row))
        for cell in self.file.index_entries("lane_starts"):
            row = _fitting(cell, ("lane_id", int), ("start_id", str))
            if row is not None:
                values = {"id": cell.rowid, "taken": "[]", **row}
                connection.execute(insert(lane_starts).prefix_with("OR IGNORE").values(values))
        return bool(before != connection.execute(select(func.count()).select_from(lane_starts)).scalar_one())

    def _number_on(self, connection: Connection) -> None:
        """New packets come behind all old ones, also behind those that are lost."""
        last = max(self._last_numbers(), default=0)
        connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = 'packets'")
        connection.exec_driver_sql("INSERT INTO sqlite_sequence VALUES ('packets', ?)", (last,))

    def _last_numbers(self) -> Iterator[int]:
        for number in range(1, self.file.pages + 1):
            owner = self.file.owner(number)
            if owner == "sqlite_sequence":
                for cell in self.file.rows(number):
                    if (
                        len(cell.values) == 2
                        and cell.values[0] == "packets"
                        and isinstance(cell.values[1], int)
                    ):
                        yield cell.values[1]
            elif self._may_hold(number, "packets"):
                yield from (cell.rowid for cell in self.file.rows(number)[-1:])


def has_room(directory: Path) -> bool:
    """Whether more can be copied beside what is recorded."""
    return shutil.disk_usage(directory).free > SPARE_BYTES


def mark(connection: Connection) -> dict[str, Any] | None:
    """What is to be salvaged: `file`, `reason`, `page`; None for nothing."""
    text = kept_facts.get(connection, kept_facts.SALVAGE)
    return None if text is None else json.loads(text)


def _forget_orphans(connection: Connection) -> bool:
    """Rows of a lane or a start that is lost are of no use. Returns whether there were any."""
    orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    for table, row_id, *_ in orphans:
        connection.exec_driver_sql(f'DELETE FROM "{table}" WHERE rowid = ?', (row_id,))  # noqa: S608 -- ours
    # A start without its lane has rows of its own.
    return bool(orphans) and (_forget_orphans(connection) or True)


def _is_sound(name: str, row: Row) -> bool:
    try:
        if name == "lane_starts":
            known = row["known"]
            return _are_ranges(row["taken"], 1) and (known is None or _are_ranges(known, 0))
        return name != "gaps" or _are_ranges(row["parts"], 0)
    except (ValueError, TypeError):
        return False


def _are_ranges(text: Value, lowest: int) -> bool:
    return all(lowest <= first <= last for first, last in json.loads(str(text)))


def _fitting(cell: Cell, *columns: tuple[str, type]) -> Row | None:
    values = cell.values[:-1]
    if len(values) != len(columns) or not all(
        isinstance(value, kind) for value, (_, kind) in zip(values, columns, strict=True)
    ):
        return None
    return {name: value for (name, _), value in zip(columns, values, strict=True)}
