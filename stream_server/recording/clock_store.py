"""Clock records in SQL, beside the packets they came in: frames outlive those, and need them to be judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, delete, insert, select

from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.packet_head import PacketKind
from stream_server.recording.clock_correction import ClockCorrection, StoredClock
from stream_server.storage.recording_schema import clock_records, lane_starts, lanes

if TYPE_CHECKING:
    from stream_server.recording.recording_store import LaneChange

_AT_HELLO = 0


def prepare(changes: Sequence[LaneChange]) -> Callable[[Connection], None] | None:
    """A part of the ack's transaction: the clock records among what is being stored."""
    records = [
        (change.start_keys[packet.start_id], packet.seq, packet.clock)
        for change in changes
        for packet in change.stored
        if packet.clock is not None
    ]
    return partial(store, records=records) if records else None


def store(connection: Connection, records: Iterable[tuple[int, int, ClockRecord]]) -> None:
    """Store (start_pk, seq, record) of packets that are being stored."""
    rows = [_row(*record) for record in records]
    if rows:
        connection.execute(insert(clock_records), rows)


def store_hello(connection: Connection, start_pk: int, record: ClockRecord) -> None:
    """What hello says of a synchronised clock counts from the beginning of its start."""
    connection.execute(
        delete(clock_records).where(clock_records.c.start_pk == start_pk, clock_records.c.seq == _AT_HELLO)
    )
    store(connection, [(start_pk, _AT_HELLO, record)])


def newest(connection: Connection, start_pk: int) -> tuple[int, bool]:
    """(number, whether it is synchronised) of what a start said last of its clock; (0, True) for nothing."""
    table = clock_records
    query = select(table.c.seq, table.c.synchronised).where(table.c.start_pk == start_pk)
    row = connection.execute(query.order_by(table.c.seq.desc()).limit(1)).one_or_none()
    return (0, True) if row is None else (row.seq, row.synchronised)


def load(connection: Connection, dongle_id: str) -> ClockCorrection:
    """All that is known of the clocks of a dongle's frames lane."""
    rows = connection.execute(
        select(clock_records)
        .join(lane_starts, clock_records.c.start_pk == lane_starts.c.id)
        .join(lanes, lane_starts.c.lane_id == lanes.c.id)
        .where(lanes.c.dongle_id == dongle_id, lanes.c.lane == "frames")
        .order_by(clock_records.c.start_pk, clock_records.c.seq)
    )
    return ClockCorrection([StoredClock(*row) for row in rows])


def forget(connection: Connection, deleted: Iterable[Row[Any]]) -> None:
    """Packets (start_pk, seq, kind) are deleted; the last record among those of a start is still in force."""
    last: dict[int, int] = {}
    for row in deleted:
        if row.kind == PacketKind.CLOCK:
            last[row.start_pk] = max(row.seq, last.get(row.start_pk, 0))
    for start_pk, seq in last.items():
        connection.execute(
            delete(clock_records).where(clock_records.c.start_pk == start_pk, clock_records.c.seq < seq)
        )


def _row(start_pk: int, seq: int, record: ClockRecord) -> dict[str, Any]:
    return {
        "start_pk": start_pk,
        "seq": seq,
        "boot_id": record.boot_id,
        "offset_ns": record.offset_ns,
        "synchronised": record.synchronised,
    }
