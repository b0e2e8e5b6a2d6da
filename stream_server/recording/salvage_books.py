"""After a salvage: what is taken, counted and missing, so that the books are those of what is there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection, delete, insert, select, update

from can_stream.lanes.intervals import IntervalSet
from can_stream.protocol.packet_head import PacketKind
from stream_server.recording.lost_numbers import StartBooks, count_of, lost_numbers, without
from stream_server.storage.recording_schema import holes, lane_starts, lanes, packets, retention_totals

_COUNTS: Final = ("packets", "frames", "bytes")


class LostOfLane(Struct):
    """What of one lane is gone; `frames` are values in a signals lane. Times are of the packets around it."""

    dongle_id: str
    lane: str
    packets: int
    frames: int
    from_ns: int | None
    to_ns: int | None


@dataclass(slots=True)
class _Stored:
    """What is there of a start."""

    numbers: IntervalSet = field(default_factory=IntervalSet)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    spans: list[tuple[int, int, int, int]] = field(default_factory=list)
    """first_seq, seq, first_ns, last_ns of every packet beside a missing number."""


def close_books(connection: Connection, at_ns: int, *, totals_lost: bool) -> list[LostOfLane]:
    """Make books and holes agree with the packets, in one transaction; returns what is gone.

    `totals_lost`: nobody knows what retention deleted, so everything before what is there counts as that.
    """
    stored = dict(_stored(connection))
    query = select(lanes.c.id, lanes.c.dongle_id, lanes.c.lane).order_by(lanes.c.id)
    reports = [
        _close_lane(connection, lane, stored, at_ns, totals_lost=totals_lost)
        for lane in connection.execute(query).all()
    ]
    return [report for report in reports if report.packets]


def _stored(connection: Connection) -> Iterator[tuple[int, _Stored]]:
    names = ("start_pk", "first_seq", "seq", "kind", "frames", "first_ns", "last_ns", "size_bytes")
    rows = connection.execute(
        select(*(packets.c[name] for name in names))
        .order_by(packets.c.start_pk, packets.c.seq)
        .execution_options(yield_per=1000)
    )
    for start_pk, group in groupby(rows, lambda row: row.start_pk):
        found, previous = _Stored(), None
        for row in group:
            found.numbers.add(row.first_seq, row.seq)
            is_gap = row.kind == PacketKind.GAP
            found.counts["packets"] += not is_gap
            found.counts["frames"] += 0 if is_gap else row.frames or 0
            found.counts["bytes"] += row.size_bytes
            span = (row.first_seq, row.seq, row.first_ns, row.last_ns)
            if previous is not None and previous[1] + 1 < row.first_seq:
                found.spans += [previous, span]
            previous = span
        yield start_pk, found


def _close_lane(
    connection: Connection, lane: Any, stored: Mapping[int, _Stored], at_ns: int, *, totals_lost: bool
) -> LostOfLane:
    query = select(lane_starts).where(lane_starts.c.lane_id == lane.id).order_by(lane_starts.c.id)
    rows = connection.execute(query).all()
    here = {row.id: stored.get(row.id) or _Stored() for row in rows}
    books = [StartBooks(IntervalSet(json.loads(row.taken)), here[row.id].numbers) for row in rows]
    missing = _missing(connection, lane.id, rows, here)
    lost = dict(zip(here, lost_numbers(books, 0 if totals_lost else missing["packets"]), strict=True))
    count = sum(map(count_of, lost.values()))
    report = LostOfLane(
        lane.dongle_id, lane.lane, count, missing["frames"] if count else 0, *_span(lost, here)
    )
    totals = dict.fromkeys(_COUNTS, 0)
    for row, book in zip(rows, books, strict=True):
        share = {name: missing[name] * count_of(lost[row.id]) // max(count, 1) for name in _COUNTS}
        counts = {name: max(getattr(row, name) - share[name], here[row.id].counts[name]) for name in _COUNTS}
        taken = without(book.taken, lost[row.id]) if book.taken else _all_up_to(here[row.id].numbers)
        values = {"taken": json.dumps(list(taken), separators=(",", ":")), **counts}
        connection.execute(update(lane_starts).where(lane_starts.c.id == row.id).values(values))
        _add_holes(connection, row.id, lost[row.id], share["frames"], at_ns)
        for name in _COUNTS:
            totals[name] += counts[name] - here[row.id].counts[name]
    connection.execute(delete(retention_totals).where(retention_totals.c.lane_id == lane.id))
    connection.execute(insert(retention_totals).values(lane_id=lane.id, **totals))
    return report


def _missing(
    connection: Connection, lane_id: int, rows: Sequence[Any], here: Mapping[int, _Stored]
) -> dict[str, int]:
    """What was recorded in a lane, was not deleted, and is not there."""
    deleted = connection.execute(
        select(retention_totals).where(retention_totals.c.lane_id == lane_id)
    ).one_or_none()
    return {
        name: max(
            0,
            sum(getattr(row, name) for row in rows)
            - sum(one.counts[name] for one in here.values())
            - (0 if deleted is None else getattr(deleted, name)),
        )
        for name in _COUNTS
    }


def _add_holes(
    connection: Connection, start_pk: int, ranges: Sequence[tuple[int, int]], frames: int, at_ns: int
) -> None:
    count = count_of(ranges)
    for first, last in ranges:
        share = frames * (last - first + 1) // count
        values = {"start_pk": start_pk, "first_seq": first, "last_seq": last, "frames": share}
        connection.execute(insert(holes).values(announced_at_ns=at_ns, **values))


def _all_up_to(numbers: IntervalSet) -> IntervalSet:
    """What was taken of a start whose row is lost: what is there, and what came before it."""
    taken = numbers.copy()
    if numbers:
        taken.add(1, next(iter(numbers))[0])
    return taken


def _span(
    lost: Mapping[int, Sequence[tuple[int, int]]], here: Mapping[int, _Stored]
) -> tuple[int | None, int | None]:
    """From the end of the packet before the first that is gone to the begin of the one behind the last."""
    before: list[int] = []
    behind: list[int] = []
    for start_pk, ranges in lost.items():
        for first, last in ranges:
            for first_seq, seq, first_ns, last_ns in here[start_pk].spans:
                before += [last_ns] if seq + 1 == first else []
                behind += [first_ns] if last + 1 == first_seq else []
    return min(before, default=None), max(behind, default=None)
