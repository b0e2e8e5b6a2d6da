"""`edge-agent decode` against `cantools decode`: whole processes on the same log, in the same run.

    python bench/decode_cli.py [LOG DATABASE]

Without arguments: traffic of the demo database, all of which it knows, and the shared logs that a shared
database knows. A log is read as it is (`short`), and so many times in a row that there are a million frames;
`steady` is what every further frame costs. Times are from the start of a process to its end. What both print
is compared first.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.packets import DEMO_DATABASE, demo_traffic
from bench.report import Comparison, compare, in_turn, show, show_skipped
from can_stream.databases.loading import load_databases
from can_stream.text.candump_format import format_candump
from tests.helpers.processes import ENVIRONMENT, installed_command
from tests.helpers.shared_data import SHARED_DATA

FRAMES: Final = 1_000_000
RUNS: Final = 3
PAIRS: Final = (
    ("kona_comp_can_heating.converted.candump.log", "kona-ev-dbc/comp_can.dbc"),
    ("CANBUSlogs/tc_gen2/aconoffengineoff.log", "opendbc/GENERATED/toyota_tnga_k_pt_generated.dbc"),
    ("SavvyCAN/examples/candump.log", "opendbc/opendbc/dbc/cadillac_ct6_object.dbc"),
)


@dataclass(frozen=True)
class Result(Comparison):
    """`ratio`, `ours` and `peer` are of the log as often in a row as `name` says."""

    frames: int
    short_ratio: float
    steady_ratio: float
    steady_cpu_ratio: float


class Took(NamedTuple):
    """What a process took from its start to its end."""

    seconds: float
    cpu_seconds: float

    def beyond(self, shorter: Took) -> Took:
        return Took(self.seconds - shorter.seconds, self.cpu_seconds - shorter.cpu_seconds)


def ours_command(log: Path, database: Path) -> list[str]:
    return [*map(str, installed_command("edge-agent")), "decode", str(log), "--dbc", str(database)]


def peer_command(database: Path) -> list[str]:
    # Its strict reading refuses some of these databases.
    return [sys.executable, "-m", "cantools", "decode", "--single-line", "--no-strict", str(database)]


def run(log: Path, command: list[str]) -> Took:
    """What a process takes, and those that it starts; it may read the log from standard input."""
    with log.open("rb") as source:
        cpu_before, begin = children_cpu_seconds(), time.perf_counter()
        subprocess.run(
            command,
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            check=True,
        )
        return Took(time.perf_counter() - begin, children_cpu_seconds() - cpu_before)


def children_cpu_seconds() -> float:
    """CPU time of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


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
    frames = assert_same(log, database)
    repeats = -(-FRAMES // frames)
    peer = peer_command(database)
    with tempfile.TemporaryDirectory() as directory:
        long = Path(directory) / "long.log"
        long.write_bytes(log.read_bytes() * repeats)
        commands = [(long, ours_command(long, database)), (long, peer)]
        commands += [(log, ours_command(log, database)), (log, peer)]
        rounds = in_turn(runs, *(partial(run, *command) for command in commands))
    steady = [
        (mine.beyond(mine_short), theirs.beyond(theirs_short))
        for mine, theirs, mine_short, theirs_short in rounds
    ]
    found = compare(
        f"{log.stem.partition('.')[0]} x {repeats}",
        "seconds",
        [(mine.seconds, theirs.seconds) for mine, theirs, _, _ in rounds],
    )
    return Result(
        **asdict(found),
        frames=frames * repeats,
        short_ratio=median_ratio((mine.seconds, theirs.seconds) for _, _, mine, theirs in rounds),
        steady_ratio=median_ratio((mine.seconds, theirs.seconds) for mine, theirs in steady),
        steady_cpu_ratio=median_ratio((mine.cpu_seconds, theirs.cpu_seconds) for mine, theirs in steady),
    )


def median_ratio(pairs: Iterable[tuple[float, float]]) -> float:
    return statistics.median(theirs / mine for mine, theirs in pairs)


def main() -> None:
    if len(sys.argv) > 2:
        show(measure(Path(sys.argv[1]), Path(sys.argv[2])))
        return
    with tempfile.TemporaryDirectory() as directory:
        demo = Path(directory) / "demo.log"
        demo.write_bytes(format_candump(demo_traffic(1_000), "can0"))
        show(measure(demo, DEMO_DATABASE))
    for log, database in PAIRS:
        paths = SHARED_DATA / "logs" / log, SHARED_DATA / "dbc" / database
        if not paths[0].exists():
            show_skipped(f"{paths[0].name}: needs the shared data")
            continue
        show(measure(*paths))


if __name__ == "__main__":
    main()
