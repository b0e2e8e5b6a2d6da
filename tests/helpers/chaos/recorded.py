"""What a server's file has of a bus whose frames are numbered, start by start; nobody is asked."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.packets import GapReason, decode_packet

Numbers = NDArray[np.int64]
_LANE: Final = (
    " JOIN lane_starts s ON s.id=start_pk JOIN lanes l ON l.id=s.lane_id"
    " WHERE l.dongle_id=? AND l.lane='frames'"
)
_BUSY_SECONDS: Final = 60.0


@dataclass(slots=True)
class RecordedGap:
    """Which positions are missing; how many frames it says."""

    reason: GapReason
    positions: Numbers
    frames: int


@dataclass(slots=True)
class RecordedStart:
    """In the order of packets: the numbers in the frames, and their positions."""

    numbers: Numbers
    positions: Numbers
    gaps: list[RecordedGap] = field(default_factory=list)
    in_holes: int = 0

    def begin(self, first: int) -> int:
        """The number of the frame at position 0; `first`, where it has no frames."""
        return int(self.numbers[0] - self.positions[0]) if len(self.numbers) else first


def recorded_starts(data_dir: Path, dongle_id: str) -> dict[str, RecordedStart]:
    """By their ids. A server may be at work meanwhile; all is as of one moment."""
    with _reading(data_dir) as db:
        query = f"SELECT s.start_id, p.position, p.body FROM packets p{_LANE} ORDER BY start_pk, seq"
        found = _starts_of(db.execute(query, (dongle_id,)))
        query = f"SELECT s.start_id, reason, parts, g.frames FROM gaps g{_LANE}"
        for start_id, reason, parts, frames in db.execute(query, (dongle_id,)):
            start = found.setdefault(start_id, _start([]))
            if frames is not None:
                ranges = [np.arange(first, last + 1) for first, last in json.loads(parts)]
                positions = np.concatenate([np.zeros(0, np.int64), *ranges])
                start.gaps.append(RecordedGap(GapReason(reason), positions, frames))
        query = f"SELECT s.start_id, sum(h.frames) FROM holes h{_LANE} GROUP BY 1"
        for start_id, frames in db.execute(query, (dongle_id,)):
            found.setdefault(start_id, _start([])).in_holes = frames
        return found


def packets_of(data_dir: Path, dongle_id: str) -> set[tuple[str, int]]:
    """Their names: start and number."""
    with _reading(data_dir) as db:
        query = f"SELECT s.start_id, p.seq FROM packets p{_LANE}"
        return set(db.execute(query, (dongle_id,)))


def numbers_of(data_dir: Path, dongle_id: str, packets: Iterable[tuple[str, int]]) -> Numbers:
    """The numbers of the frames in these packets."""
    with _reading(data_dir) as db:
        query = f"SELECT s.start_id, p.position, p.body FROM packets p{_LANE} AND s.start_id=? AND seq=?"
        rows = [row for packet in packets for row in db.execute(query, (dongle_id, *packet))]
        return np.concatenate([np.zeros(0, np.int64), *(one.numbers for one in _starts_of(rows).values())])


def _starts_of(rows: Iterable[tuple[str, int, bytes]]) -> dict[str, RecordedStart]:
    packets: dict[str, list[tuple[Numbers, int]]] = {}
    for start_id, position, body in rows:
        frames = decode_packet(body).body
        mine = packets.setdefault(start_id, [])
        if isinstance(frames, FrameBatch):
            numbers = np.ascontiguousarray(frames.data[:, :4]).view(">u4").ravel().astype(np.int64)
            mine.append((numbers, position))
    return {start_id: _start(mine) for start_id, mine in packets.items()}


def _start(packets: list[tuple[Numbers, int]]) -> RecordedStart:
    none = np.zeros(0, np.int64)
    places = [np.arange(position, position + len(numbers)) for numbers, position in packets]
    return RecordedStart(
        np.concatenate([none, *(numbers for numbers, _ in packets)]), np.concatenate([none, *places])
    )


@contextmanager
def _reading(data_dir: Path) -> Iterator[sqlite3.Connection]:
    path = data_dir / "recording.sqlite3"
    assert path.exists(), path
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as db:
        db.execute("BEGIN")
        yield db
        db.execute("ROLLBACK")
