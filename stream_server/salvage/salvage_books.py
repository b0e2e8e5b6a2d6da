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
from can_stream.protocol.packets import GapReason
from stream_server.salvage.lost_numbers import Ranges, StartBooks, count_of, lost_numbers, without
from stream_server.storage import kept_facts
from stream_server.storage.recording_schema import gaps, holes, lane_starts, lanes, packets, retention_totals

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
    """What is there of a start: numbers and positions, those of gaps among them."""

    numbers: IntervalSet = field(default_factory=IntervalSet)
    positions: IntervalSet = field(default_factory=IntervalSet)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    spans: list[tuple[int, int, int, int]] = field(default_factory=list)
    """first_seq, seq, first_ns, last_ns of every packet beside a missing number."""


def close_books(connection: Connection, *, totals_lost: bool) -> list[LostOfLane]:
    """Make books and holes agree with the packets, in one transaction; returns what is gone.

    `totals_lost`: nobody knows what retention deleted, so everything before what is there counts as that.
    """
    stored = dict(_stored(connection))
    _add_gaps(connection, stored)
    query = select(lanes.c.id, lanes.c.dongle_id, lanes.c.lane).order_by(lanes.c.id)
    reports = [
        _close_lane(connection, lane, stored, totals_lost=totals_lost)
        for lane in connection.execute(query).all()
    ]
    return [report for report in reports if report.packets]


def _stored(connection: Connection) -> Iterator[tuple[int, _Stored]]:
    names = (
        "start_pk", "first_seq", "seq", "kind", "frames", "first_ns", "last_ns", "size_bytes", "position",
    )  # fmt: skip
    rows = connection.execute(
        select(*(packets.c[name] for name in names))
        .order_by(packets.c.start_pk, packets.c.seq)
        .execution_options(yield_per=1000)
    )
    for start_pk, group in groupby(rows, lambda row: row.start_pk):
        found, previous = _Stored(), None
        for row in group:
            found.numbers.add(row.first_seq, row.seq)
            if row.position is not None and row.frames:
                found.positions.add(row.position, row.position + row.frames - 1)
            is_gap = row.kind == PacketKind.GAP
            found.counts["packets"] += not is_gap
            found.counts["frames"] += 0 if is_gap else row.frames or 0
            found.counts["bytes"] += row.size_bytes
            span = (row.first_seq, row.seq, row.first_ns, row.last_ns)
            if previous is not None and previous[1] + 1 < row.first_seq:
                found.spans += [previous, span]
            previous = span
        yield start_pk, found


def _add_gaps(connection: Connection, stored: dict[int, _Stored]) -> None:
    """Of a start that says positions, the numbers of gaps that stand for packets are not taken."""
    query = select(gaps, lane_starts.c.known).join(lane_starts, gaps.c.start_pk == lane_starts.c.id)
    for row in connection.execute(query):
        found = stored.setdefault(row.start_pk, _Stored())
        parts = json.loads(row.parts)
        if row.known is None and not found.positions:
            found.numbers = IntervalSet([*found.numbers, *parts])
            continue
        found.positions = IntervalSet([*found.positions, *parts])
        if row.last_seq and not GapReason(row.reason).was_a_packet:
            found.numbers.add(row.first_seq, row.last_seq)


def _close_lane(
    connection: Connection, lane: Any, stored: Mapping[int, _Stored], *, totals_lost: bool
) -> LostOfLane:
    query = select(lane_starts).where(lane_starts.c.lane_id == lane.id).order_by(lane_starts.c.id)
    rows = connection.execute(query).all()
    here = {row.id: stored.get(row.id) or _Stored() for row in rows}
    books = [StartBooks(_taken(row.taken, here[row.id].numbers), here[row.id].numbers) for row in rows]
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
        taken = without(book.taken, lost[row.id])
        values = {"taken": _text(taken), **counts}
        if row.known is not None or here[row.id].positions:
            known, units = _positions(row.known, here[row.id], share["frames"])
            frames = max(row.frames - count_of(units), here[row.id].counts["frames"])
            values |= {"known": _text(known), "frames": frames}
            _put_holes(connection, row.id, [(*unit, unit[1] - unit[0] + 1) for unit in units])
        else:
            _put_holes(connection, row.id, _shared(lost[row.id], share["frames"]))
        connection.execute(update(lane_starts).where(lane_starts.c.id == row.id).values(values))
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


def _positions(text: str | None, here: _Stored, lost_in_front: int) -> tuple[IntervalSet, Ranges]:
    """What is known of a start once positions that are nowhere are not, and these.

    Retention deletes from the front: what is missing there is lost as far as nobody deleted it. `text` None:
    the row of the start is lost, and all up to what is there counts as deleted.
    """
    if text is None:
        known = here.positions.copy()
        known.add(0, next(iter(known))[0])
        return known, known.missing(0, list(known)[-1][1])
    known = IntervalSet([*json.loads(text), *here.positions])
    edge = min((first for first, _ in here.positions), default=0)
    missing = [part for first, last in known for part in here.positions.missing(first, last)]
    behind = [(max(first, edge), last) for first, last in missing if last >= edge]
    front = max(0, lost_in_front - count_of(behind))
    units = [(max(0, edge - front), edge - 1), *behind] if front and edge else behind
    return without(known, units), units


def _shared(ranges: Ranges, frames: int) -> list[tuple[int, int, int]]:
    count = count_of(ranges)
    return [(first, last, frames * (last - first + 1) // count) for first, last in ranges]


def _put_holes(connection: Connection, start_pk: int, units: Sequence[tuple[int, int, int]]) -> None:
    """What is lost may come from its agent; until then it is a hole, as old as the server."""
    at_ns = int(float(kept_facts.get(connection, kept_facts.RUNNING_SECONDS) or 0.0) * 1e9)
    for first, last, frames in units:
        inside = (holes.c.first_unit <= last) & (holes.c.last_unit >= first)
        connection.execute(delete(holes).where(holes.c.start_pk == start_pk, inside))
        values = {"start_pk": start_pk, "first_unit": first, "last_unit": last, "frames": frames}
        connection.execute(insert(holes).values(known_since_ns=at_ns, last_listed_ns=at_ns, **values))


def _text(numbers: IntervalSet) -> str:
    return json.dumps(list(numbers), separators=(",", ":"))


def _taken(text: str, numbers: IntervalSet) -> IntervalSet:
    """What was taken of a start: what is there too, where its row is older, and may not be recorded twice.

    Of a start whose row is lost it is what is there, and what came before it.
    """
    taken = IntervalSet([*json.loads(text), *numbers])
    if numbers and text == "[]":
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
