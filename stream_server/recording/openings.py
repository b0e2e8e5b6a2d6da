"""What a hello says, and holes that have waited too long, in SQL. One connection, no rules."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, select

from can_stream.lanes.counted import Counted
from can_stream.lanes.holdings import NewGap
from can_stream.lanes.opening import Opening, Start, named_starts, opened
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.control import LaneName
from can_stream.protocol.lanes_control import LaneHello
from stream_server import clock
from stream_server.recording import clock_store, gap_store, start_store
from stream_server.recording.gap_news import GapNews
from stream_server.storage.recording_schema import holes, lane_starts, lanes


class Said(NamedTuple):
    """What a connection says of a lane, and when. `right_clock`: the agent's, where it is synchronised."""

    lane_id: int
    hello: LaneHello
    start_id: str
    right_clock: ClockRecord | None
    now_seconds: float


class Opened(NamedTuple):
    """A lane that is open.

    `clock`: the number of what its start said last of its clock, and whether that was synchronised.
    """

    opening: Opening
    start_keys: dict[str, int]
    clock: tuple[int, bool]
    news: list[GapNews]


def store(connection: Connection, said: Said) -> Opened:
    """A hello. SessionError where it contradicts what is recorded."""
    lane_id, hello, start_id = said.lane_id, said.hello, said.start_id
    names = named_starts(hello, start_id)
    before = start_store.load(connection, lane_id, names)
    if _find_gaps_of_before(connection, said, before):
        before = start_store.load(connection, lane_id, names)
    count = partial(start_store.count_frames, connection, lane_id)
    opening = opened(before, hello, start_id, said.now_seconds, count)
    keys = start_store.save(connection, lane_id, before, opening.starts)
    news = gap_store.add(connection, opening.gaps, keys, clock.wall_ns())
    if said.right_clock is not None:
        clock_store.store_hello(connection, keys[start_id], said.right_clock)
    return Opened(opening, keys, clock_store.newest(connection, keys[start_id]), news)


def _find_gaps_of_before(connection: Connection, said: Said, starts: Mapping[str, Start]) -> bool:
    """Those that lie among the packets, and whose packets this agent has; whether there may be some."""
    found = []
    for one in said.hello.backlog:
        start = starts.get(one.start_id)
        if isinstance(start, Counted) and start.known.common(one.first_seq, one.last_seq):
            found.append(one)
    keys = start_store.start_keys(connection, said.lane_id, {one.start_id for one in found})
    for one in found:
        gap_store.take_from_packets(connection, keys[one.start_id], one.first_seq, one.last_seq)
    return bool(found)


class GivenUp(NamedTuple):
    """Starts whose holes became gaps, as they are from now on."""

    starts: dict[str, Start]
    news: list[GapNews]
    gaps: list[NewGap]


def give_up(connection: Connection, lane_id: int, listed_before_seconds: float) -> GivenUp:
    """Holes of a lane that no hello has listed since then become gaps."""
    query = (
        select(lane_starts.c.start_id)
        .join(holes, holes.c.start_pk == lane_starts.c.id)
        .where(
            lane_starts.c.lane_id == lane_id,
            holes.c.last_listed_ns < start_store.stored_ns(listed_before_seconds),
        )
        .distinct()
    )
    before = start_store.load(connection, lane_id, connection.execute(query).scalars().all())
    after = {start_id: start.copy() for start_id, start in before.items()}
    gaps = [gap for start in after.values() for gap in start.expired(listed_before_seconds)]
    keys = start_store.save(connection, lane_id, before, after)
    return GivenUp(after, gap_store.add(connection, gaps, keys, clock.wall_ns()), gaps)


def lanes_with_holes(connection: Connection, listed_before_seconds: float) -> list[tuple[str, LaneName]]:
    """(dongle_id, lane) of those that have holes which no hello has listed since then."""
    query = (
        select(lanes.c.dongle_id, lanes.c.lane)
        .join(lane_starts, lane_starts.c.lane_id == lanes.c.id)
        .join(holes, holes.c.start_pk == lane_starts.c.id)
        .where(holes.c.last_listed_ns < start_store.stored_ns(listed_before_seconds))
        .distinct()
    )
    return [(row.dongle_id, row.lane) for row in connection.execute(query)]
