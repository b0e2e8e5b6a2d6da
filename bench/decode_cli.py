"""`edge-agent decode` against `cantools decode`: whole processes on the same log, in the same run.

    python bench/decode_cli.py [LOG DATABASE]

Without arguments: the shared logs that a shared database knows. Prints `name ratio ours peer` (seconds from
the start of a process to its end, start-up included, medians of interleaved runs, on the log `REPEATS` times
in a row) and the same as JSON with the ratios for the log as it is (`short_ratio`) and for the difference
between the two (`steady_ratio`), which is what every further frame costs. What both print is compared first.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edge_agent.databases.loading import load_databases
from tests.helpers.cantools_oracle import SHARED_DATA
from tests.helpers.processes import installed_command

REPEATS: Final = 10
RUNS: Final = 3
PAIRS: Final = (
    ("kona_comp_can_heating.converted.candump.log", "kona-ev-dbc/comp_can.dbc"),
    ("CANBUSlogs/tc_gen2/aconoffengineoff.log", "opendbc/GENERATED/toyota_tnga_k_pt_generated.dbc"),
    ("SavvyCAN/examples/candump.log", "opendbc/opendbc/dbc/cadillac_ct6_object.dbc"),
)


@dataclass(frozen=True)
class Result:
    name: str
    ratio: float
    ours_seconds: float
    peer_seconds: float
    frames: int
    short_ratio: float
    steady_ratio: float


def ours_command(log: Path, database: Path) -> list[str]:
    return [*map(str, installed_command("edge-agent")), "decode", str(log), "--dbc", str(database)]


def peer_command(database: Path) -> list[str]:
    # Its strict reading refuses some of these databases.
    return [sys.executable, "-m", "cantools", "decode", "--single-line", "--no-strict", str(database)]


def seconds_of(log: Path, command: list[str]) -> float:
    """How long a process takes that may read the log from standard input."""
    with log.open("rb") as source:
        begin = time.perf_counter()
        subprocess.run(
            command, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
        )
        return time.perf_counter() - begin


def output_of(log: Path, command: list[str]) -> Iterator[str]:
    with log.open("rb") as source:
        done = subprocess.run(command, stdin=source, capture_output=True, text=True, check=True)
    return iter(done.stdout.splitlines())


def as_peer_prints(frame: dict[str, Any], units: dict[tuple[str, str], str]) -> str:
    """The decoded part of cantools' line for one of our frames."""
    if "message" not in frame:
        number = int(frame["id"], 16)
        return f" Unknown frame id {number} (0x{number:x})"
    shown = []
    for name, value in frame["signals"].items():
        unit = "" if isinstance(value, str) else units[frame["message"], name]
        shown.append(f"{name}: {value} {unit}" if unit else f"{name}: {value}")
    return f" {frame['message']}({', '.join(shown)})"


def assert_same(log: Path, database: Path) -> int:
    """How many frames there are; both print the same of each."""
    units = {
        (message.name, signal.name): signal.unit
        for message in load_databases([database]).table.messages
        for signal in message.signals
    }
    frames = 0
    for mine, theirs in zip(
        output_of(log, ours_command(log, database)), output_of(log, peer_command(database)), strict=True
    ):
        frames += 1
        told = theirs.partition(" ::")[2]
        assert as_peer_prints(json.loads(mine), units) == told, (mine, theirs)
    return frames


def measure(log: Path, database: Path, runs: int = RUNS) -> Result:
    """Medians of `runs` interleaved rounds."""
    frames = assert_same(log, database)
    ours, peer = ours_command, peer_command(database)
    with tempfile.TemporaryDirectory() as directory:
        long = Path(directory) / "long.log"
        long.write_bytes(log.read_bytes() * REPEATS)
        rounds = [
            (
                seconds_of(long, ours(long, database)),
                seconds_of(long, peer),
                seconds_of(log, ours(log, database)),
                seconds_of(log, peer),
            )
            for _ in range(runs)
        ]
    return Result(
        log.name,
        statistics.median(theirs / mine for mine, theirs, _, _ in rounds),
        statistics.median(one[0] for one in rounds),
        statistics.median(one[1] for one in rounds),
        frames * REPEATS,
        statistics.median(theirs / mine for _, _, mine, theirs in rounds),
        statistics.median((one[1] - one[3]) / (one[0] - one[2]) for one in rounds),
    )


def main() -> None:
    shared = [(SHARED_DATA / "logs" / log, SHARED_DATA / "dbc" / database) for log, database in PAIRS]
    for log, database in [(Path(sys.argv[1]), Path(sys.argv[2]))] if len(sys.argv) > 2 else shared:
        result = measure(log, database)
        print(f"{result.name} {result.ratio:.1f} {result.ours_seconds:.3f} {result.peer_seconds:.3f}")
        print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
