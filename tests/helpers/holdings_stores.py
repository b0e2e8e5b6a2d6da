"""Where a server under test keeps what it has of one lane: in dictionaries, or in SQLite as the server does.

Both are asked for what is recorded and what is in gaps by position, so that sums can be told from above too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import sqlalchemy
from sqlalchemy import Connection, func, select
from sqlalchemy.pool import StaticPool

from can_stream.frames.batches import FrameBatch
from can_stream.lanes.holdings import Found, NewGap
from can_stream.lanes.intervals import IntervalSet
from can_stream.lanes.opening import Opening, Start, named_starts, opened
from can_stream.lanes.receiver import Change
from can_stream.protocol.lanes_control import LaneHello
from can_stream.protocol.packets import Gap, Packet, decode_packet, encode_frames
from stream_server.recording import openings, recorded_pages, recording_store, retention_store, start_store
from stream_server.recording.gap_news import GapNews
from stream_server.recording.recording_store import LaneChange, StoredPacket
from stream_server.storage import recording_schema as schema

DONGLE = "can0"
Parts = list[tuple[int, int]]


class Store(Protocol):
    """What a server keeps."""

    def open(self, hello: LaneHello, start_id: str, now_seconds: float) -> Opening:
        """Stores a hello."""

    def apply(self, packets: Sequence[Packet], before: dict[str, Start], change: Change) -> None:
        """Stores packets with what they change."""

    def give_up(self, listed_before_seconds: float) -> list[NewGap]:
        """Stores as gaps the holes that nobody has listed since then."""

    def prune(self) -> None:
        """Deletes the oldest packet."""

    def starts(self) -> dict[str, Start]:
        """What is known of every start."""

    def recorded(self) -> dict[str, list[int]]:
        """The ids of the frames of each start, in its order; what was pruned is left out."""

    def gaps(self) -> dict[str, list[tuple[Parts, int | None]]]:
        """Each start's gaps: units and frames."""

    def forgotten(self, start_id: str) -> int:
        """Frames of its gaps whose records retention has deleted."""

    def saved(self) -> Any:
        """A backup."""

    def restore(self, saved: Any) -> None:
        """Goes back to a backup."""


@dataclass
class _MemoryState:
    starts: dict[str, Start] = field(default_factory=dict)
    packets: dict[str, dict[int, Packet]] = field(default_factory=dict)
    order: list[tuple[str, int]] = field(default_factory=list)
    gaps: dict[str, list[tuple[IntervalSet, int | None, bool]]] = field(default_factory=dict)
    frames: dict[tuple[str, int], int] = field(default_factory=dict)


class MemoryStore:
    """Dictionaries: the pure rules alone."""

    def __init__(self) -> None:
        self._state = _MemoryState()

    def open(self, hello: LaneHello, start_id: str, now_seconds: float) -> Opening:
        named = named_starts(hello, start_id)
        before = {one: start for one, start in self._state.starts.items() if one in named}
        opening = opened(before, hello, start_id, now_seconds, self._count)
        self._state.starts |= {one: start.copy() for one, start in opening.starts.items()}
        self._add(opening.gaps)
        return opening

    def apply(self, packets: Sequence[Packet], before: dict[str, Start], change: Change) -> None:
        state = self._state
        state.starts |= {one: start.copy() for one, start in change.starts.items()}
        for packet, is_new in zip(packets, change.accepted, strict=True):
            start_id, seq = packet.number
            if is_new and not isinstance(packet.body, Gap):
                mine = state.packets.setdefault(start_id, {})
                assert seq not in mine, f"(c) number {start_id}:{seq} recorded twice"
                mine[seq] = packet
                state.frames[start_id, seq] = packet.frames or 0
                state.order.append((start_id, seq))
        self._add(change.gaps)
        for found in change.found:
            self._shrink(found)

    def give_up(self, listed_before_seconds: float) -> list[NewGap]:
        gaps = [gap for one in self._state.starts.values() for gap in one.expired(listed_before_seconds)]
        self._add(gaps)
        return gaps

    def prune(self) -> None:
        if self._state.order:
            start_id, seq = self._state.order.pop(0)
            del self._state.packets[start_id][seq]

    def starts(self) -> dict[str, Start]:
        return self._state.starts

    def recorded(self) -> dict[str, list[int]]:
        return {
            start_id: [i for seq in sorted(mine) for i in ids_of(mine[seq])]
            for start_id, mine in self._state.packets.items()
        }

    def gaps(self) -> dict[str, list[tuple[Parts, int | None]]]:
        return {
            start_id: [(list(parts), frames) for parts, frames, _ in mine]
            for start_id, mine in self._state.gaps.items()
        }

    def forgotten(self, start_id: str) -> int:
        return 0

    def saved(self) -> Any:
        return deepcopy(self._state)

    def restore(self, saved: Any) -> None:
        self._state = deepcopy(saved)

    def _count(self, start_id: str, first: int, last: int) -> int:
        recorded = sum(
            n for (one, seq), n in self._state.frames.items() if one == start_id and first <= seq <= last
        )
        mine = self._state.gaps.get(start_id, [])
        lost = sum(n or 0 for parts, n, _ in mine if parts and first <= max(list(parts))[1] <= last)
        return recorded + lost

    def _add(self, gaps: Iterable[NewGap]) -> None:
        for gap in gaps:
            mine = self._state.gaps.setdefault(gap.start_id, [])
            mine.append((IntervalSet(gap.parts), gap.frames, gap.reason.was_a_packet))

    def _shrink(self, found: Found) -> None:
        exact = hasattr(self._state.starts[found.start_id], "numbers")
        left = list[tuple[IntervalSet, int | None, bool]]()
        for parts, frames, findable in self._state.gaps.get(found.start_id, []):
            if not findable:
                left.append((parts, frames, findable))
                continue
            here = [part for one in found.parts for part in parts.common(*one)]
            for part in here:
                parts.remove(*part)
            taken = sum(last - first + 1 for first, last in here) if exact else found.frames if here else 0
            if parts:
                left.append((parts, None if frames is None else max(0, frames - taken), findable))
        self._state.gaps[found.start_id] = left


class SqliteStore:
    """The server's own statements, on a database in memory."""

    def __init__(self) -> None:
        engine = sqlalchemy.create_engine("sqlite://", poolclass=StaticPool)
        schema.metadata.create_all(engine)
        self._connection: Connection = engine.connect()
        self._lane_id = start_store.lane_id_of(self._connection, DONGLE, "frames")
        self._at_ns = 0
        self._forgotten: dict[str, int] = {}
        self._connection.commit()

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
        self._connection.engine.dispose()

    def open(self, hello: LaneHello, start_id: str, now_seconds: float) -> Opening:
        said = openings.Said(self._lane_id, hello, start_id, None, now_seconds)
        opening = openings.store(self._connection, said).opening
        self._connection.commit()
        return opening

    def apply(self, packets: Sequence[Packet], before: dict[str, Start], change: Change) -> None:
        keys = start_store.start_keys(self._connection, self._lane_id, change.starts)
        accepted = zip(packets, change.accepted, strict=True)
        stored = [self._row(one) for one, is_new in accepted if is_new and not isinstance(one.body, Gap)]
        lane = LaneChange(self._lane_id, keys, stored, before, change, self._at_ns)
        recording_store.store(self._connection, [lane])
        self._connection.commit()

    def _row(self, packet: Packet) -> StoredPacket:
        self._at_ns += 1
        body = b""
        if isinstance(packet.body, FrameBatch):
            body = encode_frames(packet.number, packet.body, 1, packet.position)
        times = (0, 0, self._at_ns)
        frames = packet.frames or 0
        return StoredPacket(*packet.number, packet.kind, frames, *times, False, body, packet.position)

    def give_up(self, listed_before_seconds: float) -> list[NewGap]:
        before = self.gaps()
        openings.give_up(self._connection, self._lane_id, listed_before_seconds)
        self._connection.commit()
        made = []
        for start_id, mine in self.gaps().items():
            for parts, frames in mine[len(before.get(start_id, [])) :]:
                made.append(NewGap(start_id, 0, 0, 0, 0, parts, frames))  # type: ignore[arg-type]
        return made

    def prune(self) -> None:
        before = self._gap_frames()
        oldest = self._connection.execute(select(func.min(schema.packets.c.id))).scalar_one()
        retention_store.delete_oldest(self._connection, oldest or 0)
        self._connection.commit()
        after = self._gap_frames()
        for start_id, frames in before.items():
            gone = frames - after.get(start_id, 0)
            self._forgotten[start_id] = self._forgotten.get(start_id, 0) + gone

    def _gap_frames(self) -> dict[str, int]:
        return {start_id: sum(n or 0 for _, n in mine) for start_id, mine in self.gaps().items()}

    def forgotten(self, start_id: str) -> int:
        return self._forgotten.get(start_id, 0)

    def starts(self) -> dict[str, Start]:
        ids = self._connection.execute(select(schema.lane_starts.c.start_id)).scalars().all()
        return start_store.load(self._connection, self._lane_id, ids)

    def recorded(self) -> dict[str, list[int]]:
        """As readers of the recording get it, gaps in their places."""
        names = {key: start_id for start_id, key in self._keys().items()}
        out: dict[str, list[int]] = {}
        cursor: recorded_pages.Cursor | None = recorded_pages.Cursor()
        while cursor is not None:
            records, cursor = recorded_pages.page(self._connection, DONGLE, cursor, None, None)
            assert records == sorted(records, key=lambda one: one.place), "(e) out of place"
            for record in records:
                mine = out.setdefault(names[record.start_pk], [])
                if not isinstance(record.body, GapNews) and record.body:
                    mine.extend(ids_of(decode_packet(record.body)))
        return out

    def _keys(self) -> dict[str, int]:
        table = schema.lane_starts
        rows = self._connection.execute(select(table.c.start_id, table.c.id))
        return {row.start_id: row.id for row in rows}

    def gaps(self) -> dict[str, list[tuple[Parts, int | None]]]:
        names = {key: start_id for start_id, key in self._keys().items()}
        out: dict[str, list[tuple[Parts, int | None]]] = {}
        for row in self._connection.execute(select(schema.gaps).order_by(schema.gaps.c.id)):
            parts = [(first, last) for first, last in msgspec.json.decode(row.parts)]
            out.setdefault(names[row.start_pk], []).append((parts, row.frames))
        return out

    def saved(self) -> Any:
        return self._plain.serialize(), dict(self._forgotten)

    def restore(self, saved: Any) -> None:
        self._connection.commit()
        self._plain.deserialize(saved[0])
        self._forgotten = dict(saved[1])

    @property
    def _plain(self) -> sqlite3.Connection:
        plain = self._connection.connection.driver_connection
        assert isinstance(plain, sqlite3.Connection)
        return plain


def ids_of(packet: Packet) -> list[int]:
    """The ids of its frames."""
    body = packet.body
    return body.arbitration_id.tolist() if isinstance(body, FrameBatch) else []
