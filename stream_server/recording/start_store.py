"""What is stored of the starts of a lane, in SQL. One connection, no rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from can_stream.lanes.counted import Counted
from can_stream.lanes.holes import Hole, Run, difference
from can_stream.lanes.intervals import IntervalSet
from can_stream.lanes.opening import Start
from can_stream.lanes.positions import Positions
from can_stream.protocol.control import LaneName
from stream_server.recording import gap_store
from stream_server.storage.columns import total
from stream_server.storage.recording_schema import gaps, holes, lane_starts, lanes, packets

_DELETE_HOLE: Final = delete(holes).where(
    holes.c.start_pk == bindparam("hole_start_pk"), holes.c.first_unit == bindparam("hole_first_unit")
)
_LIST_HOLES: Final = (
    update(holes)
    .where(
        holes.c.start_pk == bindparam("hole_start_pk"),
        holes.c.first_unit.between(bindparam("run_first"), bindparam("run_last")),
    )
    .values(last_listed_ns=bindparam("listed_ns"))
)
_INSERT_HOLES: Final = insert(holes)
_UPDATE: Final = (
    update(lane_starts)
    .where(lane_starts.c.id == bindparam("start_pk"))
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("taken", "known", "told_frames", "told_acknowledged", "went_back")
        }
    )
)
_SECOND_NS: Final = 1_000_000_000
_LATEST_NS: Final = 2**62
_json: Final = msgspec.json.Encoder()


def lane_id_of(connection: Connection, dongle_id: str, lane: LaneName) -> int:
    """The lane's key; made when it is new."""
    query = select(lanes.c.id).where(lanes.c.dongle_id == dongle_id, lanes.c.lane == lane)
    known: int | None = connection.execute(query).scalar_one_or_none()
    if known is not None:
        return known
    made: int = connection.execute(
        insert(lanes).values(dongle_id=dongle_id, lane=lane).returning(lanes.c.id)
    ).scalar_one()
    return made


def start_keys(connection: Connection, lane_id: int, start_ids: Iterable[str]) -> dict[str, int]:
    """The keys of those of these starts that are stored; they never change."""
    query = select(lane_starts.c.start_id, lane_starts.c.id).where(
        lane_starts.c.lane_id == lane_id, lane_starts.c.start_id.in_(list(start_ids))
    )
    return {row.start_id: row.id for row in connection.execute(query)}


def load(connection: Connection, lane_id: int, start_ids: Iterable[str]) -> dict[str, Start]:
    """What is known of those of these starts that are stored."""
    rows = connection.execute(
        select(lane_starts).where(
            lane_starts.c.lane_id == lane_id, lane_starts.c.start_id.in_(list(start_ids))
        )
    ).all()
    keys = [row.id for row in rows]
    missing, findable = _holes(connection, keys), gap_store.findable(connection, keys)
    gap_frames = gap_store.frames_of(connection, [row.id for row in rows if row.known is None])
    out = {}
    for row in rows:
        found = findable.get(row.id) or IntervalSet()
        out[row.start_id] = _start(row, found, missing.get(row.id, []), gap_frames.get(row.id, 0))
    return out


def _start(row: Row[Any], findable: IntervalSet, missing: list[Hole], gap_frames: int) -> Start:
    taken = IntervalSet.of_disjoint(msgspec.json.decode(row.taken))
    if row.known is None:
        return Counted(
            start_id=row.start_id,
            known=taken,
            findable=findable,
            holes=missing,
            frames=row.frames,
            gap_frames=gap_frames,
        )
    parts = msgspec.json.decode(row.known)
    ends = [last for _, last in parts[-1:]] + [hole.last for hole in missing[-1:]]
    return Positions(
        start_id=row.start_id,
        known=IntervalSet.of_disjoint(parts),
        findable=findable,
        holes=missing,
        frames=row.frames,
        told_frames=row.told_frames,
        told_acknowledged=row.told_acknowledged,
        went_back=row.went_back,
        numbers=taken,
        end=max(ends, default=-1) + 1,
    )


def _holes(connection: Connection, start_pks: list[int]) -> dict[int, list[Hole]]:
    out: dict[int, list[Hole]] = {}
    query = select(holes).where(holes.c.start_pk.in_(start_pks)).order_by(*holes.primary_key)
    for start_pk, first, last, frames, since_ns, listed_ns in connection.execute(query).all():
        hole = Hole(first, last, frames, since_ns / _SECOND_NS, listed_ns / _SECOND_NS)
        out.setdefault(start_pk, []).append(hole)
    return out


def stored_ns(seconds: float) -> int:
    """A time that the server has run, as storage has it; the latest for what is later than any."""
    return int(min(seconds * _SECOND_NS, _LATEST_NS))


class Progress(NamedTuple):
    """What every commit to a start stores, as its columns."""

    taken: str
    known: str | None


def progress(start: Start) -> Progress:
    """What is known of a start, counts of packets and holes apart."""
    if isinstance(start, Counted):
        return Progress(_text(start.known), None)
    return Progress(_text(start.numbers), _text(start.known))


def _text(units: IntervalSet) -> str:
    parts = list(units)
    if len(parts) == 1:  # as nearly always
        return f"[[{parts[0][0]},{parts[0][1]}]]"
    return _json.encode(parts).decode()


def save(
    connection: Connection, lane_id: int, before: Mapping[str, Start], after: Mapping[str, Start]
) -> dict[str, int]:
    """Store what is known of these starts, counts of packets apart; new ones in their order. Their keys."""
    keys = start_keys(connection, lane_id, after)
    for start_id, start in after.items():
        if start_id not in keys:
            values = {"lane_id": lane_id, "start_id": start_id, **progress(start)._asdict()}
            made = connection.execute(insert(lane_starts).values(**values).returning(lane_starts.c.id))
            keys[start_id] = made.scalar_one()
    rows = [_row(keys[start_id], start) for start_id, start in after.items()]
    if rows:
        connection.execute(_UPDATE, rows)
    save_holes(connection, keys, before, after)
    return keys


def _row(start_pk: int, start: Start) -> dict[str, Any]:
    values = {
        **progress(start)._asdict(),
        "told_frames": start.told_frames,
        "told_acknowledged": start.told_acknowledged,
        "went_back": start.went_back,
    }
    return {"start_pk": start_pk, **{f"new_{name}": value for name, value in values.items()}}


def save_holes(
    connection: Connection, keys: Mapping[str, int], before: Mapping[str, Start], after: Mapping[str, Start]
) -> None:
    """Store the holes of these starts, as far as they have changed."""
    gone: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    new: list[dict[str, Any]] = []
    for start_id, start in after.items():
        old = before[start_id].holes if start_id in before else []
        found, start_pk = difference(old, start.holes), keys[start_id]
        gone += [{"hole_start_pk": start_pk, "hole_first_unit": first} for first in found.gone]
        runs += [_run_row(start_pk, run) for run in found.runs]
        new += [_hole_row(start_pk, hole) for hole in found.new]
    for statement, rows in ((_DELETE_HOLE, gone), (_LIST_HOLES, runs), (_INSERT_HOLES, new)):
        if rows:
            connection.execute(statement, rows)


def _run_row(start_pk: int, run: Run) -> dict[str, Any]:
    listed_ns = stored_ns(run.last_listed_seconds)
    return {"hole_start_pk": start_pk, "run_first": run.first, "run_last": run.last, "listed_ns": listed_ns}


def _hole_row(start_pk: int, hole: Hole) -> dict[str, Any]:
    return {
        "start_pk": start_pk,
        "first_unit": hole.first,
        "last_unit": hole.last,
        "frames": hole.frames,
        "known_since_ns": stored_ns(hole.known_since_seconds),
        "last_listed_ns": stored_ns(hole.last_listed_seconds),
    }


def count_frames(connection: Connection, lane_id: int, start_id: str, first_seq: int, last_seq: int) -> int:
    """Frames that are recorded or in gaps of these numbers, of a start without positions."""
    mine = (lane_starts.c.lane_id == lane_id) & (lane_starts.c.start_id == start_id)
    found: int = 0
    for table, number in ((packets, packets.c.seq), (gaps, gaps.c.last_seq)):
        query = (
            select(total(table.c.frames))
            .join(lane_starts, table.c.start_pk == lane_starts.c.id)
            .where(mine, number.between(first_seq, last_seq))
        )
        found += connection.execute(query).scalar_one()
    return found


def newest_hole_seconds(connection: Connection) -> float:
    """The latest time that a hole has; 0 for none."""
    latest = func.max(holes.c.known_since_ns), func.max(holes.c.last_listed_ns)
    return max(0, *(at_ns or 0 for at_ns in connection.execute(select(*latest)).one())) / _SECOND_NS
