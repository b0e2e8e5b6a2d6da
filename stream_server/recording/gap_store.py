"""Gaps in SQL: what is known to be missing, until it is found. One connection, no rules but the pure ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from can_stream.lanes.holdings import Found, NewGap
from can_stream.lanes.intervals import IntervalSet
from can_stream.protocol.packet_head import PacketKind
from can_stream.protocol.packets import Gap, GapReason, decode_packet
from stream_server.recording.gap_news import GapNews
from stream_server.storage.columns import total
from stream_server.storage.recording_schema import gaps, lane_starts, packets

FINDABLE: Final = tuple(reason for reason in GapReason if reason.was_a_packet)
_UPDATE: Final = (
    update(gaps)
    .where(gaps.c.id == bindparam("gap_pk"))
    .values(place=bindparam("new_place"), parts=bindparam("new_parts"), frames=bindparam("new_frames"))
)
_json: Final = msgspec.json.Encoder()


def add(
    connection: Connection, new: Sequence[NewGap], start_keys: Mapping[str, int], received_ns: int
) -> list[GapNews]:
    """Record gaps."""
    if not new:
        return []
    rows = [_row(gap, start_keys[gap.start_id], received_ns) for gap in new]
    made = connection.execute(insert(gaps).returning(gaps.c.id, sort_by_parameter_order=True), rows)
    return [
        GapNews(gap_id, gap.reason, gap.frames, gap.first_ns, gap.last_ns)
        for gap_id, gap in zip(made.scalars(), new, strict=True)
    ]


def _row(gap: NewGap, start_pk: int, received_ns: int) -> dict[str, Any]:
    return {
        "start_pk": start_pk,
        "place": gap.place,
        "reason": gap.reason,
        "first_seq": gap.first_seq,
        "last_seq": gap.last_seq,
        "parts": _json.encode(gap.parts).decode(),
        "frames": gap.frames,
        "first_ns": gap.first_ns,
        "last_ns": gap.last_ns,
        "received_ns": received_ns,
    }


@dataclass(slots=True)
class _Shrinking:
    """A gap while what was found of it is taken out. `exact`: each of its units is a frame."""

    row: Any
    parts: IntervalSet
    frames: int | None
    exact: bool
    found_frames: int = 0
    touched: bool = False

    def take_out(self, found: Found) -> None:
        """What of `found` is in it."""
        taken = 0
        for first, last in found.parts:
            for part in self.parts.common(first, last):
                self.parts.remove(*part)
                self.touched = True
                taken += part[1] - part[0] + 1 if self.exact else found.frames
        self.frames = None if self.frames is None else max(0, self.frames - taken)
        self.found_frames += taken if found.frames else 0

    @property
    def news(self) -> GapNews:
        """What is told of it."""
        row, left = self.row, self.frames if self.parts else 0
        times = (row.first_ns, row.last_ns)
        return GapNews(row.id, GapReason(row.reason), left, *times, self.found_frames, is_new=False)


def find(connection: Connection, start_pk: int, found: Sequence[Found], *, exact: bool) -> list[GapNews]:
    """Shrink the gaps of a start by what was found; those of which nothing is left are deleted."""
    through = max(last for one in found for _, last in one.parts)
    query = select(gaps).where(
        gaps.c.start_pk == start_pk, gaps.c.reason.in_(FINDABLE), gaps.c.place <= through
    )
    shrinking = [
        _Shrinking(row, IntervalSet(msgspec.json.decode(row.parts)), row.frames, exact)
        for row in connection.execute(query.order_by(gaps.c.place, gaps.c.id))
    ]
    for one in found:
        for gap in shrinking:
            gap.take_out(one)
    touched = [gap for gap in shrinking if gap.touched]
    _store(connection, touched)
    return [gap.news for gap in touched]


def _store(connection: Connection, touched: Sequence[_Shrinking]) -> None:
    left = [
        {
            "gap_pk": gap.row.id,
            "new_place": next(iter(gap.parts))[0],
            "new_parts": _json.encode(list(gap.parts)).decode(),
            "new_frames": gap.frames,
        }
        for gap in touched
        if gap.parts
    ]
    if left:
        connection.execute(_UPDATE, left)
    gone = [gap.row.id for gap in touched if not gap.parts]
    if gone:
        connection.execute(delete(gaps).where(gaps.c.id.in_(gone)))


def findable(connection: Connection, start_pks: Sequence[int]) -> dict[int, IntervalSet]:
    """By start, the units in gaps that stand for packets."""
    found: dict[int, IntervalSet] = {}
    query = select(gaps.c.start_pk, gaps.c.parts).where(
        gaps.c.start_pk.in_(start_pks), gaps.c.reason.in_(FINDABLE)
    )
    for start_pk, parts in connection.execute(query).all():
        units = found.setdefault(start_pk, IntervalSet())
        for first, last in msgspec.json.decode(parts):
            units.add(first, last)
    return found


def frames_of(connection: Connection, start_pks: Sequence[int]) -> dict[int, int]:
    """By start, what its gaps say together."""
    query = (
        select(gaps.c.start_pk, total(gaps.c.frames))
        .where(gaps.c.start_pk.in_(start_pks))
        .group_by(gaps.c.start_pk)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def forget(connection: Connection, start_pks: Iterable[int]) -> None:
    """Retention has deleted the oldest packets of these starts: gaps before what is left go with them, but
    for those that stand for packets, since these may come."""
    for start_pk in start_pks:
        first = connection.execute(
            select(func.min(packets.c.seq)).where(packets.c.start_pk == start_pk)
        ).scalar_one()
        gone = (gaps.c.start_pk == start_pk) & gaps.c.reason.not_in(FINDABLE)
        if first is not None:
            gone &= gaps.c.last_seq < first
        connection.execute(delete(gaps).where(gone))


def take_from_packets(connection: Connection, start_pk: int, first_seq: int, last_seq: int) -> None:
    """Gaps that a server of before has put among the packets, as far as these numbers may be found."""
    table = packets
    mine = (table.c.start_pk == start_pk) & (table.c.seq >= first_seq)
    inside = select(table).where(mine, table.c.seq <= last_seq, table.c.kind == PacketKind.GAP)
    behind = select(table).where(mine, table.c.seq > last_seq).order_by(table.c.seq).limit(1)
    for row in [*connection.execute(inside).all(), *connection.execute(behind).all()]:
        if row.kind == PacketKind.GAP and row.first_seq <= last_seq:
            _move(connection, row)


def _move(connection: Connection, row: Any) -> None:
    gap = decode_packet(row.body).body
    if not isinstance(gap, Gap) or not gap.reason.was_a_packet:
        return
    connection.execute(delete(packets).where(packets.c.id == row.id))
    connection.execute(
        update(lane_starts)
        .where(lane_starts.c.id == row.start_pk)
        .values(bytes=lane_starts.c.bytes - row.size_bytes)
    )
    parts, times = [(row.first_seq, row.seq)], (gap.first_ns, gap.last_ns)
    moved = NewGap("", gap.reason, row.first_seq, row.seq, row.first_seq, parts, gap.frames, *times)
    connection.execute(insert(gaps).values(**_row(moved, row.start_pk, row.received_ns)))
