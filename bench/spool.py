"""The agent's spool: CPU time per frame against a row per frame in SQLite, and what it writes per hour.

    python bench/spool.py [DIRECTORY]

Both take the same traffic of the demo database, in batches of 50 ms, and commit three of them at a time, as
the agent does, in WAL mode with synchronous=NORMAL. Ours is given packets, which it deflates; the peer is
given rows.

What is written is what the kernel counts (proc(5), write_bytes: whole pages given to storage), while the log
is synced every 1.75 s of the traffic's time. It depends on the file system: DIRECTORY (default: the current
one) should be on the disk in question.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

from bench.packets import START_ID, cut, demo_traffic
from bench.report import compare, cpu_seconds, in_turn, show, show_skipped
from can_stream.frames.batches import FrameBatch
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.text.frame_json import FrameRow, rows_of
from edge_agent.config.sections import SpoolSection
from edge_agent.lanes.disk_backlog import SpoolRow
from edge_agent.lanes.spooled_window import SpooledWindow, spooled_lane
from edge_agent.lanes.timing import patience_seconds
from edge_agent.spool.directory import thread_written_bytes
from edge_agent.spool.store import Changes, LaneKey, Moment, SpoolStore

T = TypeVar("T")
RATES = (500, 2_000, 4_000, 8_000)
SECONDS = 10
WEAR_SECONDS = 60
RUNS = 5
SPOOL = SpoolSection()
KEY: LaneKey = ("bench", "frames")


@dataclass(frozen=True)
class Wear:
    bus_load: str
    server: str
    written_mb_per_hour: float
    written_bytes_per_frame: float
    on_disk_bytes_per_frame: float


def traffic(rate: int, seconds: int) -> list[FrameBatch]:
    """Batches of 50 ms; the demo's traffic, again and again."""
    frames = demo_traffic(rate)
    batches = cut(frames)
    wanted = seconds * 20
    return [batches[number % len(batches)] for number in range(wanted)]


@contextmanager
def a_directory(parent: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def a_lane(patience: float) -> tuple[LaneSender, SpooledWindow]:
    lane = spooled_lane("bench", "frames", START_ID, WindowLimits(), 1_000, patience)
    assert isinstance(lane.window, SpooledWindow)
    return lane, lane.window


def spool(
    directory: Path, batches: list[FrameBatch], *, acknowledged: bool = False, sync: bool = False
) -> None:
    """What the agent does with these while no server takes them, or while one does in time."""
    now = Moment("bench", 0.0, None)
    store = SpoolStore(directory, SPOOL.max_bytes, now)
    lane, window = a_lane(patience_seconds(SPOOL))
    rows = count(1)
    sync_at = SPOOL.sync_seconds - SPOOL.flush_seconds
    for number, batch in enumerate(batches):
        now_seconds = number * 0.05
        lane.take_frames(batch, now_seconds)
        if acknowledged:
            lane.accepted(number)  # all but the newest
        if window.writer.due_in(now_seconds) <= 0:
            handed = window.hand_over(now_seconds, partial(next, rows), store.transaction_bytes)
            store.apply(Changes([(KEY, row) for row in handed]), now)
            window.written(handed)
        if sync and not acknowledged and now_seconds >= sync_at:
            store.sync()
            sync_at = now_seconds + SPOOL.sync_seconds - SPOOL.flush_seconds
    store.close()


def in_threes(of_batches: Sequence[T]) -> list[Sequence[T]]:
    return [of_batches[at : at + 3] for at in range(0, len(of_batches), 3)]


def packets_of(batches: list[FrameBatch]) -> list[SpoolRow]:
    lane, window = a_lane(0.0)
    for batch in batches:
        lane.take_frames(batch, 0.0)
    return window.hand_over(0.0, partial(next, count(1)), 1 << 40)


def insert_packets(directory: Path, commits: list[Sequence[SpoolRow]]) -> None:
    """Ours: a row for each packet."""
    now = Moment("bench", 0.0, None)
    store = SpoolStore(directory, SPOOL.max_bytes, now)
    for packets in commits:
        store.apply(Changes([(KEY, packet) for packet in packets]), now)
    store.close()


def insert_rows(directory: Path, commits: list[list[FrameRow]]) -> None:
    """A row for each frame."""
    connection = sqlite3.connect(directory / "frames.sqlite3")
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL")
    connection.execute(
        "CREATE TABLE frames (id INTEGER PRIMARY KEY, ts_ns INTEGER, arbitration_id INTEGER, flags INTEGER,"
        " length INTEGER, data BLOB)"
    )
    for rows in commits:
        connection.executemany(
            "INSERT INTO frames (ts_ns, arbitration_id, flags, length, data) VALUES (?, ?, ?, ?, ?)", rows
        )
        connection.commit()
    connection.close()


def costs(parent: Path, work: Callable[[Path], None]) -> float:
    with a_directory(parent) as directory:
        return cpu_seconds(lambda: work(directory))


def wear(parent: Path, rate: int, *, acknowledged: bool) -> Wear:
    batches = traffic(rate, WEAR_SECONDS)
    frames = sum(map(len, batches))
    with a_directory(parent) as directory:
        # What making the file costs is no matter of hours.
        spool(directory, batches[:1], sync=True)
        before = thread_written_bytes()
        spool(directory, batches[1:], acknowledged=acknowledged, sync=True)
        written = thread_written_bytes() - before
        stored = sum(path.stat().st_size for path in directory.iterdir())
    per_hour = written * 3600 / WEAR_SECONDS / 1e6
    state = "acknowledges in time" if acknowledged else "away"
    return Wear(f"{rate} frames/s", state, per_hour, written / frames, stored / frames)


def main() -> None:
    parent = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()
    for rate in (2_000, 8_000):
        batches = traffic(rate, SECONDS)
        packets = in_threes(packets_of(batches))
        rows = [[row for batch in three for row in rows_of(batch)] for three in in_threes(batches)]
        pairs = in_turn(
            RUNS,
            partial(costs, parent, partial(insert_packets, commits=packets)),
            partial(costs, parent, partial(insert_rows, commits=rows)),
        )
        frames = sum(map(len, batches))
        show(compare(f"{rate}/s, a row per frame", "us of CPU per frame", pairs, frames / 1e6))
    for rate in RATES:
        found = wear(parent, rate, acknowledged=False)
        if not found.written_mb_per_hour:
            show_skipped(
                f"bytes written: {parent} is in memory, or the kernel does not count; name a directory"
            )
            return
        show(found)
    show(wear(parent, RATES[-1], acknowledged=True))


if __name__ == "__main__":
    main()
