"""What waits for the sinks of groups, in SQL, in the file of the packets. One connection, no rules.

Moments are of CLOCK_BOOTTIME of the boot that `kept_facts.RELAY_BOOT` names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Table, delete, insert, select, update

from can_stream.protocol.packet_head import PacketNumber
from stream_server.relay.values import Changes, Served, StoredLine, StoredRow
from stream_server.storage import kept_facts
from stream_server.storage.recording_schema import (
    lane_starts,
    lanes,
    packets,
    relay_lines,
    relay_rows,
    relay_served,
)

_LINE: Final = msgspec.json.Decoder(StoredLine)
_TABLES: Final = (relay_lines, relay_rows, relay_served)
_ROW_FIELDS: Final = ("start_id", "seq", "position", "frames", "born_ns", "own", "in_doubt")


class Way(NamedTuple):
    """From whose bus to whose."""

    source_dongle_id: str
    sink_dongle_id: str


class Stored(NamedTuple):
    """What is in storage of one direction."""

    rows: Sequence[StoredRow] = ()
    lines: Sequence[StoredLine] = ()
    serving: Served | None = None


def forget_moments(connection: Connection, boot_id: str, now_ns: int) -> None:
    """Where this is another boot than that of the stored moments, none of them is known any more."""
    if kept_facts.get(connection, kept_facts.RELAY_BOOT) == boot_id and boot_id != "unknown":
        return
    kept_facts.put(connection, kept_facts.RELAY_BOOT, boot_id)
    connection.execute(update(relay_rows).values(born_ns=None))
    connection.execute(update(relay_served).where(relay_served.c.anew_ns.is_not(None)).values(anew_ns=now_ns))
    for row in connection.execute(select(relay_lines)).all():
        line = _LINE.decode(row.line)
        unknown = [msgspec.structs.replace(one, born_ns=None) for one in line.stretches]
        _put_line(connection, _way(row), msgspec.structs.replace(line, stretches=unknown))


def ways(connection: Connection) -> list[Way]:
    """Every direction of which something is stored."""
    found = [connection.execute(select(table).distinct()).all() for table in _TABLES]
    return sorted({_way(row) for rows in found for row in rows})


def load(connection: Connection, way: Way) -> Stored:
    """What is stored of a direction."""
    rows = connection.execute(
        select(*(relay_rows.c[one] for one in _ROW_FIELDS)).where(*_of(relay_rows, way))
    )
    lines = connection.execute(select(relay_lines.c.line).where(*_of(relay_lines, way))).scalars()
    served = connection.execute(select(relay_served).where(*_of(relay_served, way))).one_or_none()
    return Stored(
        [StoredRow(*row) for row in rows],
        [_LINE.decode(line) for line in lines],
        None if served is None else Served(served.record_id, served.anew_ns),
    )


def write(connection: Connection, way: Way, changes: Changes) -> None:
    """What has changed in a direction."""
    table = relay_rows
    for gone in changes.deleted:
        between = table.c.seq.between(gone.first_seq, gone.last_seq)
        connection.execute(delete(table).where(*_of(table, way), table.c.start_id == gone.start_id, between))
    if changes.rows:
        rows = [way._asdict() | msgspec.structs.asdict(row) for row in changes.rows]
        connection.execute(insert(table).prefix_with("OR REPLACE"), rows)
    for line in changes.lines:
        _put_line(connection, way, line)
    for start_id in changes.gone:
        for one in (relay_lines, relay_rows):
            connection.execute(delete(one).where(*_of(one, way), one.c.start_id == start_id))


def put_served(connection: Connection, way: Way, serving: Served) -> None:
    """Which record is handed items from now on."""
    connection.execute(delete(relay_served).where(*_of(relay_served, way)))
    row = way._asdict() | msgspec.structs.asdict(serving)
    connection.execute(insert(relay_served).values(**row))


def drop(connection: Connection, way: Way) -> None:
    """Nothing of the direction is kept."""
    for table in _TABLES:
        connection.execute(delete(table).where(*_of(table, way)))


def bodies(
    connection: Connection, dongle_id: str, numbers: Iterable[PacketNumber]
) -> dict[PacketNumber, bytes]:
    """Recorded packets of the dongle's frames lane; what is not there is not among them."""
    wanted: dict[str, list[int]] = {}
    for number in numbers:
        wanted.setdefault(number.start_id, []).append(number.seq)
    found = {}
    for start_id, seqs in wanted.items():
        query = (
            select(packets.c.seq, packets.c.body)
            .join(lane_starts, lane_starts.c.id == packets.c.start_pk)
            .join(lanes, lanes.c.id == lane_starts.c.lane_id)
            .where(
                lanes.c.dongle_id == dongle_id,
                lanes.c.lane == "frames",
                lane_starts.c.start_id == start_id,
                packets.c.seq.in_(seqs),
            )
        )
        for row in connection.execute(query):
            found[PacketNumber(start_id, row.seq)] = row.body
    return found


def _put_line(connection: Connection, way: Way, line: StoredLine) -> None:
    row = way._asdict() | {"start_id": line.start_id, "line": msgspec.json.encode(line).decode()}
    connection.execute(insert(relay_lines).prefix_with("OR REPLACE").values(**row))


def _of(table: Table, way: Way) -> tuple[Any, Any]:
    return (
        table.c.source_dongle_id == way.source_dongle_id,
        table.c.sink_dongle_id == way.sink_dongle_id,
    )


def _way(row: Any) -> Way:
    return Way(row.source_dongle_id, row.sink_dongle_id)
