"""Our decoder against cantools' decode_message: CPU time per frame, in batches of 400, in the same run.

    python bench/decode.py [DATABASE]...

Without arguments: our own demo database, the shared databases with 50 messages or more, the FD ones, and the
Kona drive. All values of both are compared first; the frames are those that cantools decodes.
"""

from __future__ import annotations

import csv
import random
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from cantools.database import Database

from bench.report import Comparison, compare, cpu_seconds, in_turn, show, show_skipped
from can_stream.frames.batches import CLASSIC_DATA_BYTES, FrameBatch, concatenate
from can_stream.logs.formats.candump import CandumpParser
from can_stream.logs.log_blocks import read_blocks
from can_stream.signals.evaluate import decode
from can_stream.signals.table import SignalTable
from tests.helpers.cantools_oracle import (
    difference,
    expected,
    frames_of,
    load_both,
    random_data,
)
from tests.helpers.shared_data import SHARED_DATA

BATCH_FRAMES = 400
FRAMES = 4_000
RUNS = 7
# So that what is timed takes milliseconds on both sides.
OUR_ROUNDS = 8
MANY_MESSAGES = 50
KONA_DATABASE = SHARED_DATA / "dbc" / "kona-ev-dbc" / "comp_can.dbc"
KONA_LOG = SHARED_DATA / "logs" / "kona_comp_can_heating.converted.candump.log"
DEMO_DATABASE = Path(__file__).parents[1] / "dbc" / "demo-vehicle.dbc"


@dataclass(frozen=True)
class Result(Comparison):
    frames: int
    is_fd: bool


@dataclass(frozen=True)
class Work:
    """Frames that cantools decodes, for both decoders."""

    table: SignalTable
    database: Database
    batches: list[FrameBatch]
    frames: list[tuple[int, bool, bytes]]

    @property
    def is_fd(self) -> bool:
        """Whether any of them has more than 8 bytes."""
        return any(batch.width > CLASSIC_DATA_BYTES for batch in self.batches)


def from_rows(table: SignalTable, database: Database, rows: list[tuple[int, bool, bytes]]) -> Work:
    batch = frames_of(rows)
    starts = range(0, len(batch), BATCH_FRAMES)
    batches = [batch[start : start + BATCH_FRAMES] for start in starts]
    return Work(table, database, batches, rows)


def random_work(path: Path, frames: int = FRAMES) -> Work:
    """Messages of a database in random order with random payloads."""
    table, database = load_both(path)
    dice = random.Random(path.name)
    kept = {(m.frame_id, m.is_extended_frame): m for m in database.messages}
    known = [message for message in kept.values() if message.signals]
    rows: list[tuple[int, bool, bytes]] = []
    for _ in range(frames * 3):
        message = dice.choice(known)
        data = random_data(message, dice)
        if expected(message, data, choices=True) is not None:
            rows.append((message.frame_id, bool(message.is_extended_frame), data))
        if len(rows) == frames:
            break
    return from_rows(table, database, rows)


def kona_work() -> Work:
    """The recorded drive, as far as cantools decodes it."""
    table, database = load_both(KONA_DATABASE)
    parser = CandumpParser()
    with KONA_LOG.open("rb") as file:
        batch = concatenate([parser.parse(block).batch.frames for block in read_blocks(file.read)])
    messages = {message.frame_id: message for message in database.messages}
    rows = []
    for number, size, data in zip(
        batch.arbitration_id.tolist(), batch.data_length().tolist(), batch.data, strict=True
    ):
        payload = data[:size].tobytes()
        if number in messages and expected(messages[number], payload, choices=True) is not None:
            rows.append((number, False, payload))
    return from_rows(table, database, rows[: 3 * FRAMES])


def run_ours(work: Work) -> None:
    for _ in range(OUR_ROUNDS):
        for batch in work.batches:
            decode(work.table, batch)


def run_peer(work: Work) -> None:
    decode_message = work.database.decode_message
    for number, is_extended, data in work.frames:
        decode_message(number, data, force_extended_id=is_extended)


def assert_same(work: Work) -> None:
    ours = [values for batch in work.batches for values in decode(work.table, batch).rows()]
    for (number, is_extended, data), mine in zip(work.frames, ours, strict=True):
        theirs = work.database.decode_message(number, data, force_extended_id=is_extended)
        assert mine is not None
        assert isinstance(theirs, dict)
        problem = difference(mine, theirs)
        assert not problem, f"{number:#x} {data.hex()}: {problem}"


def measure(name: str, work: Work, runs: int = RUNS) -> Result:
    assert_same(work)
    pairs = in_turn(
        runs,
        lambda: cpu_seconds(partial(run_ours, work)) / OUR_ROUNDS,
        lambda: cpu_seconds(partial(run_peer, work)),
    )
    frames = len(work.frames)
    found = compare(name, "us of CPU per frame", pairs, frames / 1e6)
    return Result(**asdict(found), frames=frames, is_fd=work.is_fd)


def large_databases() -> list[Path]:
    """Shared databases of 50 messages or more, and all with messages of more than 8 bytes."""
    with (SHARED_DATA / "dbc_index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        SHARED_DATA / row["path"]
        for row in rows
        if row["path"].lower().endswith(".dbc")
        and (
            max(int(row["messages"]), int(row["opendbc_messages"] or 0)) >= MANY_MESSAGES
            or "len>8" in row["tags"]
            or "is_fd" in row["tags"]
        )
    ]


def main() -> None:
    paths = [Path(name) for name in sys.argv[1:]] or [DEMO_DATABASE]
    if not sys.argv[1:] and SHARED_DATA.exists():
        show(measure("kona drive", kona_work()))
        paths += large_databases()
    elif not sys.argv[1:]:
        show_skipped("larger databases and a recorded drive: needs the shared data")
    for path in paths:
        show(measure(path.name, random_work(path)))


if __name__ == "__main__":
    main()
