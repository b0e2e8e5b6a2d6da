"""What is in the spool's file: one packet per row. Everything here blocks, and belongs to one thread.

What is looked at when the agent starts or has to make room (`packets`) lies apart from what is sent
(`bodies`), so that neither reads 500 MB. Bodies are deflated one by one: 2 to 4 times smaller for 0.1 to
0.3 us per frame.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Final

from msgspec import Struct, field

from can_stream.lanes.backlog import Stretch
from can_stream.protocol.errors import PacketError
from can_stream.protocol.packets import (
    MAX_PACKET_BYTES,
    MAX_SEQ,
    Gap,
    GapReason,
    PacketNumber,
    encode_gap,
    number_of,
)
from edge_agent.lanes.disk_backlog import DiskBacklog, Marks, SpoolRow
from edge_agent.lanes.lane_on_disk import Fetch, gap_of
from edge_agent.spool.file import SpoolDatabase

LaneKey = tuple[str, str]
"""Dongle and lane."""
LeftStretch = tuple[LaneKey, Stretch]

TRIM_ROWS: Final = 64
_FETCH_PACKETS: Final = 64
_FETCH_BYTES: Final = 256 * 1024
_CLOCK_STEP_MS: Final = 1000
_SCAN_ROWS: Final = 128
_NUMBERS: Final = frozenset({int, NoneType})
_END_OF_PART: Final = "SELECT max(id) FROM (SELECT id FROM packets WHERE id>=? ORDER BY id LIMIT ?)"
_PART: Final = (
    "SELECT lane, start, min(first_seq), max(seq), sum(seq - first_seq + 1), total(frames),"
    " total(CASE WHEN gap IS NULL THEN 0 ELSE frames END), min(made_ms), count(*), min(id), max(id)"
    " FROM packets WHERE id BETWEEN ? AND ? GROUP BY lane, start ORDER BY min(id)"
)
_COLUMNS: Final = (
    "p.id, p.start, p.first_seq, p.seq, p.frames, p.gap, p.first_ns, p.last_ns, p.made_ms, p.lane"
)


class Moment(Struct, frozen=True):
    """When and in which boot: `wall_ms` None where the wall clock cannot be believed."""

    boot_id: str
    monotonic_seconds: float
    wall_ms: int | None

    @property
    def boot_wall_ms(self) -> int | None:
        """The wall clock when the monotonic one was 0."""
        return None if self.wall_ms is None else self.wall_ms - int(self.monotonic_seconds * 1000)


class LeftLane(Struct, frozen=True):
    """What earlier starts left of one lane."""

    backlog: DiskBacklog = field(default_factory=DiskBacklog)
    marks: dict[str, Marks] = field(default_factory=dict)


class Changes(Struct):
    """One transaction: packets to put in (over what has the same row), what goes, what to remember."""

    puts: list[tuple[LaneKey, SpoolRow]] = field(default_factory=list)
    deletes: list[int] = field(default_factory=list)
    delete_stretches: list[tuple[LaneKey, Stretch]] = field(default_factory=list)
    marks: list[tuple[LaneKey, str, str]] = field(default_factory=list)

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to write; marks alone are not worth it."""
        return bool(self.puts or self.deletes or self.delete_stretches)


class SpoolStore(SpoolDatabase):
    """The packets in the file; whatever raises SpoolError, it must be closed then and made anew."""

    def __init__(self, directory: Path, max_bytes: int, now: Moment) -> None:
        super().__init__(directory, max_bytes)
        self._boot_id = now.boot_id
        self._lanes: dict[LaneKey, int] = {}
        self._starts: dict[str, int] = {}
        self._start_ids: dict[int, tuple[str, str, int | None]] = {}

    # -- at the start

    def left(self, now: Moment) -> dict[LaneKey, LeftLane]:
        """What is there."""
        return self._guarded(lambda: self._left(now))

    # -- while running

    def apply(self, changes: Changes, now: Moment) -> int:
        """One transaction; by how many bytes the file then is larger than it may stay."""
        return self._guarded(lambda: self._apply(changes, now))

    def fetch(
        self, key: LaneKey, fetch: Fetch, marks: list[tuple[LaneKey, str, str]], now: Moment
    ) -> list[SpoolRow]:
        """The packets of the interval, in order, as many as are comfortable; `marks` are stored before."""
        return self._guarded(lambda: self._fetch(key, fetch, marks, now))

    def oldest(self, now: Moment, wanted_bytes: int | None = None) -> dict[LaneKey, list[SpoolRow]]:
        """The oldest packets that are no gaps, with the gaps between and right before them; no bodies.

        Not many at once, and no more than take up `wanted_bytes`.
        """
        return self._guarded(lambda: self._oldest(now, wanted_bytes))

    def oldest_gaps(self, now: Moment) -> dict[LaneKey, list[SpoolRow]]:
        """The oldest gaps, where gaps are a quarter of what may be here; they are older than all packets."""
        return self._guarded(lambda: self._oldest_gaps(now))

    # -- inside

    @contextlib.contextmanager
    def _known_transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._transaction() as db:
                yield db
        except BaseException:
            self._lanes.clear()  # their numbers may be among what is undone
            self._starts.clear()
            raise

    def _apply(self, changes: Changes, now: Moment) -> int:
        with self._known_transaction() as db:
            gone = [(row,) for row in changes.deletes]
            db.executemany("DELETE FROM packets WHERE id=?", gone)
            db.executemany("DELETE FROM bodies WHERE id=?", gone)
            for key, stretch in changes.delete_stretches:
                self._delete_stretch(db, key, stretch)
            for key, row in changes.puts:
                self._put(db, key, row, now)
            self._put_marks(db, changes.marks, now)
        return self._excess()

    def _delete_stretch(self, db: sqlite3.Connection, key: LaneKey, stretch: Stretch) -> None:
        where = "id BETWEEN ? AND ? AND lane=? AND start=? AND seq BETWEEN ? AND ?"
        start = db.execute("SELECT start FROM starts WHERE start_id=?", (stretch.start_id,)).fetchone()
        lane, (number,) = self._lane(db, key), start or (0,)
        wanted = (stretch.first_row, stretch.last_row, lane, number, stretch.first_seq, stretch.last_seq)
        db.execute(f"DELETE FROM bodies WHERE id IN (SELECT id FROM packets WHERE {where})", wanted)  # noqa: S608 - fixed text
        db.execute(f"DELETE FROM packets WHERE {where}", wanted)  # noqa: S608 - fixed text

    def _put(self, db: sqlite3.Connection, key: LaneKey, row: SpoolRow, now: Moment) -> None:
        first_ns, last_ns = row.span_ns or (None, None)
        start = self._start(db, row.number.start_id, now)
        reason = None if row.gap is None else int(row.gap.reason)
        db.execute(
            "INSERT OR REPLACE INTO packets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(row.row, self._lane(db, key), start, row.first_seq, row.number.seq, row.frames, reason),
                *(first_ns, last_ns, int(row.made_at_seconds * 1000)),
            ),
        )
        body = zlib.compress(row.packet, 3)
        db.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?)", (row.row, body))

    def _put_marks(
        self, db: sqlite3.Connection, marks: Iterable[tuple[LaneKey, str, str]], now: Moment
    ) -> None:
        for key, start_id, text in marks:
            wanted = (self._lane(db, key), self._start(db, start_id, now), text)
            db.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", wanted)

    def _lane(self, db: sqlite3.Connection, key: LaneKey) -> int:
        if key not in self._lanes:
            db.execute("INSERT OR IGNORE INTO lanes (dongle_id, name) VALUES (?, ?)", key)
            (self._lanes[key],) = db.execute(
                "SELECT lane FROM lanes WHERE dongle_id=? AND name=?", key
            ).fetchone()
        return self._lanes[key]

    def _start(self, db: sqlite3.Connection, start_id: str, now: Moment) -> int:
        if start_id not in self._starts:
            new = (start_id, now.boot_id, now.boot_wall_ms)
            db.execute("INSERT OR IGNORE INTO starts (start_id, boot_id, boot_wall_ms) VALUES (?, ?, ?)", new)
            self._read_starts(db)
        start = self._starts[start_id]
        _, boot_id, known_ms = self._start_ids[start]
        told_ms = now.boot_wall_ms
        is_news = told_ms is not None and (known_ms is None or abs(told_ms - known_ms) > _CLOCK_STEP_MS)
        if boot_id == now.boot_id and is_news:
            db.execute("UPDATE starts SET boot_wall_ms=? WHERE start=?", (told_ms, start))
            self._start_ids[start] = (start_id, boot_id, told_ms)
        return start

    def _read_starts(self, db: sqlite3.Connection) -> None:
        found = db.execute("SELECT start, start_id, boot_id, boot_wall_ms FROM starts").fetchall()
        self._start_ids = {start: (start_id, boot_id, wall_ms) for start, start_id, boot_id, wall_ms in found}
        for start_id, boot_id, wall_ms in self._start_ids.values():
            if len(bytes.fromhex(start_id)) != 8 or boot_id is None or not isinstance(wall_ms, int | None):
                raise ValueError(f"start {start_id} is none")
        self._starts = {start_id: start for start, (start_id, _, _) in self._start_ids.items()}

    # -- reading

    def _left(self, now: Moment) -> dict[LaneKey, LeftLane]:
        with self._transaction() as db:
            db.execute("DELETE FROM marks WHERE start NOT IN (SELECT DISTINCT start FROM packets)")
            db.execute("DELETE FROM starts WHERE start NOT IN (SELECT DISTINCT start FROM packets)")
            self._starts.clear()
            self._read_starts(db)
        keys = self._keys()
        left = {key: LeftLane() for key in keys.values()}
        for lane, start, text in self._db.execute("SELECT lane, start, marks FROM marks"):
            left[keys[lane]].marks[self._start_ids[start][0]] = Marks.parse(text)
        announced = {
            key: {start_id: marks.announced for start_id, marks in one.marks.items()}
            for key, one in left.items()
        }
        for key, stretch in self._scan(now, announced):
            left[key].backlog.append(stretch, announced[key])
        return left

    def _scan(self, now: Moment, announced: Mapping[LaneKey, Mapping[str, int]]) -> Iterator[LeftStretch]:
        """All that is there: many rows at a time, and one by one where they are not of one kind."""
        keys = self._keys()
        last = 0
        while True:
            first = last + 1
            (last,) = self._db.execute(_END_OF_PART, (first, _SCAN_ROWS)).fetchone()
            if last is None:
                return
            for lane, start, first_seq, seq, numbers, *rest in self._db.execute(
                _PART, (first, last)
            ).fetchall():
                key, (start_id, boot_id, _) = keys[lane], self._start_ids[start]
                through = announced[key].get(start_id, 0)
                if numbers != seq - first_seq + 1 or first_seq <= through < seq:
                    yield from self._scan_rows(key, (first, last, lane, start), now)
                    continue
                frames, lost_frames, made_ms, packets, first_row, last_row = rest
                made_at = made_ms / 1000 if boot_id == self._boot_id else None
                counts = (int(frames), int(lost_frames), made_at, packets, first_row, last_row)
                yield key, Stretch(start_id, int(first_seq), int(seq), *counts)

    def _scan_rows(self, key: LaneKey, part: tuple[int, ...], now: Moment) -> Iterator[LeftStretch]:
        where = "p.id BETWEEN ? AND ? AND p.lane=? AND p.start=?"
        for row in self._db.execute(f"SELECT {_COLUMNS} FROM packets p WHERE {where} ORDER BY p.id", part):  # noqa: S608 - fixed text
            packet = self._row(row, now)
            frames = packet.frames or 0
            is_of_boot = self._start_ids[row[1]][1] == self._boot_id
            made_at = packet.made_at_seconds if is_of_boot else None
            lost = frames if packet.gap is not None else 0
            number = packet.number
            yield (
                key,
                Stretch(
                    number.start_id,
                    packet.first_seq,
                    number.seq,
                    frames,
                    lost,
                    made_at,
                    1,
                    packet.row,
                    packet.row,
                ),
            )

    def _row(self, row: tuple[Any, ...], now: Moment) -> SpoolRow:
        number, start, first_seq, seq, frames, reason, first_ns, last_ns, made_ms, _ = row
        start_id, boot_id, boot_wall_ms = self._start_ids[start]
        if not set(map(type, row)) <= _NUMBERS:
            raise ValueError(f"packet {number} is not made of numbers")
        if not 1 <= first_seq <= seq <= MAX_SEQ or not 0 <= (frames or 0) <= MAX_SEQ:
            raise ValueError(f"packet {number} has numbers {first_seq} to {seq}")
        age_seconds: float | None = None
        if boot_id == now.boot_id:
            age_seconds = now.monotonic_seconds - made_ms / 1000
        elif boot_wall_ms is not None and now.wall_ms is not None:
            age_seconds = max(0.0, (now.wall_ms - boot_wall_ms - made_ms) / 1000)
        gap = None if reason is None else Gap(GapReason(reason), first_seq, frames, first_ns, last_ns)
        span_ns = None if first_ns is None or last_ns is None else (int(first_ns), int(last_ns))
        place = PacketNumber(start_id, int(seq))
        return SpoolRow(
            int(number), place, int(first_seq), frames, gap, span_ns, made_ms / 1000, b"", age_seconds
        )

    def _fetch(
        self, key: LaneKey, fetch: Fetch, marks: list[tuple[LaneKey, str, str]], now: Moment
    ) -> list[SpoolRow]:
        if marks:
            with self._known_transaction() as db:
                self._put_marks(db, marks, now)
        found = self._db.execute(
            f"SELECT {_COLUMNS}, b.body FROM packets p JOIN bodies b ON b.id=p.id"  # noqa: S608 - fixed text
            " WHERE p.id>? AND p.id<=? AND p.lane=? ORDER BY p.id",
            (fetch.after_row, fetch.through_row, self._lane(self._db, key)),
        )
        rows: list[SpoolRow] = []
        size = 0
        with contextlib.closing(found):
            for *columns, body in found:
                row = self._row(tuple(columns), now)
                if row.number.start_id != fetch.start_id or row.first_seq > fetch.last_seq:
                    break
                rows.append(_with_packet(row, body))
                size += len(rows[-1].packet)
                if len(rows) >= _FETCH_PACKETS or size >= _FETCH_BYTES:
                    break
        return rows

    def _oldest(self, now: Moment, wanted_bytes: int | None) -> dict[LaneKey, list[SpoolRow]]:
        data = (
            "SELECT p.id, length(b.body) FROM packets p JOIN bodies b ON b.id=p.id"
            " WHERE p.gap IS NULL AND p.frames>0 ORDER BY p.id LIMIT ?"
        )
        ids: list[int] = []
        size = 0
        for number, length in self._db.execute(data, (TRIM_ROWS,)):
            if wanted_bytes is not None and size >= wanted_bytes:
                break
            ids.append(number)
            size += length
        if not ids:
            return {}
        found: dict[int, list[SpoolRow]] = {}
        between = f"SELECT {_COLUMNS} FROM packets p WHERE id BETWEEN ? AND ? ORDER BY id"  # noqa: S608 - fixed text
        for row in self._db.execute(between, (ids[0], ids[-1])):
            found.setdefault(row[9], []).append(self._row(row, now))
        before = f"SELECT {_COLUMNS} FROM packets p WHERE id<? AND lane=? ORDER BY id DESC LIMIT 1"  # noqa: S608 - fixed text
        for lane, rows in found.items():
            for row in self._db.execute(before, (ids[0], lane)).fetchall():
                rows.insert(0, self._row(row, now))
        return self._by_key(found)

    def _oldest_gaps(self, now: Moment) -> dict[LaneKey, list[SpoolRow]]:
        most = self.max_bytes // 4 // _GAP_BYTES
        (first,) = self._db.execute("SELECT min(id) FROM packets WHERE gap IS NULL").fetchone()
        select = f"SELECT {_COLUMNS} FROM packets p WHERE id<? ORDER BY id LIMIT ?"  # noqa: S608 - fixed text
        rows = self._db.execute(select, (first or self.next_row, most + TRIM_ROWS)).fetchall()
        found: dict[int, list[SpoolRow]] = {}
        for row in rows[: max(0, len(rows) - most)]:
            found.setdefault(row[9], []).append(self._row(row, now))
        return self._by_key(found)

    def _by_key(self, found: dict[int, list[SpoolRow]]) -> dict[LaneKey, list[SpoolRow]]:
        keys = self._keys()
        return {keys[lane]: rows for lane, rows in found.items()}

    def _keys(self) -> dict[int, LaneKey]:
        found = self._db.execute("SELECT lane, dongle_id, name FROM lanes")
        return {lane: (str(dongle_id), str(name)) for lane, dongle_id, name in found}


_GAP_BYTES: Final = 160
"""What a gap takes on disk, its share of pages and indexes included."""


def _with_packet(row: SpoolRow, body: bytes) -> SpoolRow:
    """A body that cannot be read is lost, and nothing else."""
    inflater = zlib.decompressobj()
    gap = row.gap
    try:
        packet = inflater.decompress(body, MAX_PACKET_BYTES)
        is_right = inflater.eof and number_of(packet) == row.number
    except (zlib.error, PacketError):
        is_right = False
    if not is_right:
        gap = row.gap or gap_of(row)
        packet = encode_gap(row.number, gap)
    return SpoolRow(
        row.row, row.number, row.first_seq, row.frames, gap, row.span_ns, row.made_at_seconds, packet
    )
