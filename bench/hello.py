"""What a server does with a hello of 2,048 ranges, the most there may be, against reading it with json.loads.

    python bench/hello.py

CPU time from the text until what it changed is committed to a SQLite file, when the server has heard as much
before: that is what an agent with a long backlog costs at each reconnection. Either the ranges follow each
other, as an agent lists what nobody has, or there is something between any two of them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

from sqlalchemy import Connection, create_engine

from bench.report import compare, cpu_seconds, in_turn, show
from can_stream.protocol.control import MAX_RANGES
from can_stream.protocol.lanes_control import (
    BacklogRange,
    LaneHello,
    LanesHello,
    LedgerEntry,
    decode_data_up,
    encode_lanes,
)
from stream_server.recording import openings, start_store
from stream_server.storage import recording_schema

RUNS = 11
START_IDS = [f"{number:016x}" for number in range(65)]
PACKETS, FRAMES = 10, 100  # of a range


def hello_text(starts: int, *, apart: bool) -> str:
    """Of an agent that has 2,048 ranges of that many starts."""
    each, step = MAX_RANGES // starts, 2 if apart else 1
    ranges = [
        BacklogRange(
            START_IDS[start],
            1 + step * PACKETS * number,
            step * PACKETS * number + PACKETS,
            step * FRAMES * number,
            FRAMES,
            1.0,
        )
        for start in range(1, starts + 1)
        for number in range(each)
    ]
    ledger = [
        LedgerEntry(START_IDS[start], each * step * PACKETS, each * step * FRAMES, 0)
        for start in range(1, min(starts, 63) + 1)
    ]
    lane = LaneHello("can0", "frames", 1, ranges, next_frame=0, complete=True, starts=ledger)
    return encode_lanes(LanesHello(START_IDS[0], [lane]), 2)


def hear(connection: Connection, lane_id: int, text: str, now_seconds: float) -> None:
    """As the recorder does, in its transaction."""
    hello = decode_data_up(text)
    said = openings.Said(lane_id, hello.lanes[0], hello.start_id, None, now_seconds)
    openings.store(connection, said).opening.books(hello.lanes[0], hello.start_id)


def measure(name: str, text: str, directory: Path) -> None:
    engine = create_engine(f"sqlite:///{directory / name.replace(' ', '-')}.sqlite3")
    recording_schema.metadata.create_all(engine)
    with engine.begin() as connection:
        lane_id = start_store.lane_id_of(connection, "can0", "frames")
    seconds = count(1)

    def ours() -> None:
        with engine.begin() as connection:
            hear(connection, lane_id, text, float(next(seconds)))

    sides: list[Callable[[], object]] = [ours, lambda: json.loads(text)]
    for side in sides:
        side()
    pairs = in_turn(RUNS, *(partial(cpu_seconds, side) for side in sides))
    show(compare(name, "ms of CPU per hello", pairs, 1e-3))


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        for starts in (1, 64):
            for apart in (False, True):
                name = f"{starts} starts, {'with gaps between' if apart else 'one after another'}"
                measure(name, hello_text(starts, apart=apart), Path(directory))


if __name__ == "__main__":
    main()
