"""The live pipeline, receive to WebSocket, with all signals decoded: CPU time per frame, ours and the peer's.

    python bench/pipeline.py [--interface vcan0] [--rate 8000] [--peer-rate 8000] [--seconds 10] [--rounds 3]

Ours is the agent as `edge-agent run` runs it, with a frames lane and a signals lane. The peer is what one
would write: python-can's Notifier, cantools, `json.dumps` and a WebSocket message for each frame. Each runs
in a process of its own and streams to a sink of the same kind in another, one after the other, on the same
frames; only its own CPU time counts, as the kernel accounts it. Where there is no AF_CAN a pair of local
datagram sockets stands in for the bus. Everything must arrive, and the last value of every signal must be
the same. Then the same over frame rates and dongles.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np

from bench.frame_block import FrameBlock
from bench.receive import STAND_IN, Wire, has_interface
from bench.report import Comparison, in_turn, show, show_skipped
from can_stream.databases.loading import load_databases
from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.signals.decoded import numbers_of
from edge_agent.simulation.messages import simulated_messages
from edge_agent.simulation.traffic import Traffic
from tests.helpers.conditions import eventually

Side = Literal["ours", "peer"]

ROOT: Final = Path(__file__).resolve().parents[1]
SIDES: Final = (sys.executable, "-m", "bench.sides.pipeline_sides")
DATABASE: Final = ROOT / "dbc" / "demo-vehicle.dbc"
FRAMES_PER_SECOND: Final = 8_000.0
REQUIRED_RATIO: Final = 20.0
WARM_UP_SECONDS: Final = 2.0
RATES: Final = (0, 100, 1_000, 4_000, 8_000, 20_000)
DONGLES: Final = (1, 4, 16)
DONGLE_RATE: Final = 500.0
_BLOCK_FRAMES: Final = 20_000
_SETTLE_SECONDS: Final = 2.0
_VALUES_SETTLE_SECONDS: Final = 1.0
_COARSE_SECONDS: Final = 0.001
_SO_SNDBUFFORCE: Final = 32
_QUEUE_BYTES: Final = 64 << 20
_EXTENDED: Final = 1 << 31


@dataclass(frozen=True)
class Measured:
    """One side of one run. `lost`: frames sent that did not arrive within some time."""

    cpu_seconds: float
    seconds: float
    frames: int
    lost: int
    wire_bytes: int
    values: dict[str, float]

    @property
    def figures(self) -> tuple[float, float, float, int]:
        """Microseconds per frame, percent of a core, bytes per frame, lost."""
        frames = max(self.frames, 1)
        us_per_frame = self.cpu_seconds / frames * 1e6 if self.frames else 0.0
        return us_per_frame, 100 * self.cpu_seconds / self.seconds, self.wire_bytes / frames, self.lost


@dataclass(frozen=True)
class Cost(Comparison):
    """`lost`: frames that did not arrive. The peer's bytes are counted before they are deflated.

    `same_last_values`: None where the peer had fewer frames.
    """

    core_percent: float
    peer_core_percent: float
    bytes_per_frame: float
    peer_bytes_per_frame: float
    lost: int
    peer_lost: int
    same_last_values: bool | None


@dataclass(frozen=True)
class Work:
    """What both sides do: every frame of `block` from each of so many dongles."""

    database: Path
    interface: str | None
    dongles: int = 1

    def block(self) -> FrameBlock:
        messages, _ = simulated_messages([self.database])
        traffic = Traffic(messages, FRAMES_PER_SECOND)
        batch = traffic.before(int(1.1 * _BLOCK_FRAMES / traffic.frames_per_second * 1e9))[:_BLOCK_FRAMES]
        return FrameBlock(records_of(batch))


def records_of(batch: FrameBatch) -> list[bytes]:
    """`struct can_frame` of each frame."""
    extended = (batch.flags & FrameFlag.EXTENDED) != 0
    columns = (batch.arbitration_id.tolist(), extended.tolist(), batch.length.tolist(), batch.data)
    return [
        struct.pack("=IB3x8s", number | (_EXTENDED if wide else 0), length, data.tobytes())
        for number, wide, length, data in zip(*columns, strict=True)
    ]


def cpu_seconds(pid: int) -> float:
    """CPU time of another process, as clock_getcpuclockid(3) makes its clock's number."""
    return time.clock_gettime((~pid << 3) | 2)


def counts_in_ticks() -> bool:
    """Whether this kernel takes whoever runs when its timer ticks for the one that ran all the while.

    User Mode Linux does. Timers wake us up right after a tick, and we are done before the next.
    """
    before = after = time.process_time()
    while after == before:
        after = time.process_time()
    return after - before > _COARSE_SECONDS


class SinkProcess:
    """The sink, and what it says it has."""

    def __enter__(self) -> Self:
        command = [*SIDES, "sink"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.port = int(self._line())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def report(self, question: str = "counts") -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        report: dict[str, Any] = json.loads(self._line())
        return report

    def wait_ready(self) -> None:
        eventually(lambda: self.report()["ready"], "a connection to the sink")

    def wait_for(self, frames: int) -> int:
        """How many of `frames` have come, once all have or nothing has come for some time."""
        seen, since = -1, time.monotonic()
        while seen < frames and time.monotonic() - since < _SETTLE_SECONDS:
            now: int = self.report()["frames"]
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.05)
        return seen

    def last_values(self) -> dict[str, Any]:
        """What was said of values, once nothing new has come for longer than an agent gathers them."""
        seen, since = self.report("values"), time.monotonic()
        while time.monotonic() - since < _VALUES_SETTLE_SECONDS:
            time.sleep(0.1)
            if (now := self.report("values")) != seen:
                seen, since = now, time.monotonic()
        return seen

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextlib.contextmanager
def sockets(work: Work) -> Iterator[tuple[list[int], list[socket.socket]]]:
    """(descriptors that stand in for buses, sockets to send to them)."""
    wire = Wire(work.interface)
    with wire.receivers(0 if work.interface else work.dongles) as (receivers, senders):
        for one in senders:
            with contextlib.suppress(PermissionError):
                one.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _QUEUE_BYTES)
        yield [one.fileno() for one in receivers], senders


def agent_config(work: Work, url: str, token_file: Path, agent_id: str = "bench") -> Path:
    """The configuration of an agent that does the work, beside its token."""
    lines = ["[agent]", f'id = "{agent_id}"', "[server]", f'url = "{url}"', f'token_file = "{token_file}"']
    for number in range(work.dongles):
        channel = work.interface or str(number)
        lines += ["[[dongles]]", f'channel = "{channel}"', f'databases = ["{work.database}"]']
    config = token_file.with_suffix(".toml")
    config.write_text("\n".join(lines))
    return config


def command_of(side: Side, work: Work, port: int, descriptors: Sequence[int], directory: Path) -> list[str]:
    command = [*SIDES, side, "--descriptors", *map(str, descriptors)]
    if side == "ours":
        token = directory / "token"
        token.touch(0o600)
        token.write_text("bench")
        return [*command, "--config", str(agent_config(work, f"http://127.0.0.1:{port}", token))]
    command += ["--database", str(work.database), "--url", f"ws://127.0.0.1:{port}/json"]
    return [*command, "--interface", work.interface] if work.interface else command


def measure(side: Side, work: Work, rate: float, seconds: float) -> Measured:
    """One side at `rate` frames per second from each dongle; what it handles in `seconds`."""
    block = work.block()
    warm, more = int(rate * WARM_UP_SECONDS), int(rate * seconds)
    with (
        tempfile.TemporaryDirectory() as name,
        (Path(name) / "errors").open("w+") as errors,
        sockets(work) as (descriptors, senders),
        SinkProcess() as sink,
    ):
        command = command_of(side, work, sink.port, descriptors, Path(name))
        # A spool of its own: what a killed run has left in this user's would be counted as well.
        environment = os.environ | {"STATE_DIRECTORY": name, "XDG_RUNTIME_DIR": name}
        with subprocess.Popen(
            command, pass_fds=descriptors, stderr=errors, cwd=ROOT, env=environment
        ) as process:
            try:
                sink.wait_ready()
                block.send(senders, warm, rate)
                time.sleep(0.0 if rate else WARM_UP_SECONDS)
                before = sink.report(), cpu_seconds(process.pid), time.monotonic()
                block.send(senders, more, rate, warm)
                time.sleep(max(0.0, before[2] + seconds - time.monotonic()))
                after = sink.report(), cpu_seconds(process.pid), time.monotonic()
                lost = (warm + more) * work.dongles - sink.wait_for((warm + more) * work.dongles)
                values = values_of(sink.last_values(), work.database)
            except BaseException:
                errors.seek(0)
                sys.stderr.write(errors.read())
                raise
            finally:
                process.kill()
    handled, sent_bytes = (after[0][key] - before[0][key] for key in ("frames", "bytes"))
    return Measured(after[1] - before[1], after[2] - before[2], handled, lost, sent_bytes, values)


def values_of(report: dict[str, Any], database: Path) -> dict[str, float]:
    """The last value of every signal by its name, whichever side said it."""
    table = load_databases([database]).table
    messages = table.messages
    names = [f"{messages[table.message_of[at]].name}.{one.name}" for at, one in enumerate(table.signals)]
    values = dict(report["values"])
    for signal, (kind, bits) in report["numbers"].items():
        values[names[int(signal)]] = numbers_of(np.array([kind], np.uint8), np.array([bits], np.uint64))[0]
    return values


def compare(
    work: Work,
    rate: float = FRAMES_PER_SECOND,
    peer_rate: float | None = None,
    seconds: float = 10.0,
    rounds: int = 1,
) -> Cost:
    """Medians of interleaved rounds. At another `peer_rate` the last values are those of other frames."""
    pairs = in_turn(
        rounds,
        lambda: measure("ours", work, rate, seconds),
        lambda: measure("peer", work, peer_rate or rate, seconds),
    )
    ours, peer = (
        [statistics.median(figures) for figures in zip(*(one.figures for one in side), strict=True)]
        for side in zip(*pairs, strict=True)
    )
    name = f"{work.database.stem}, {work.dongles} x {rate:.0f}/s, {work.interface or STAND_IN}"
    same = all(one.values == other.values for one, other in pairs) if peer_rate in (None, rate) else None
    compared = 0 if rate else 1  # without frames, all that it costs
    return Cost(
        name, peer[compared] / max(ours[compared], 1e-9), ours[0], peer[0], "us of CPU per frame",
        ours[1], peer[1], ours[2], peer[2], int(ours[3]), int(peer[3]), same,
    )  # fmt: skip


def show_curves(work: Work, seconds: float) -> None:
    for rate in RATES:
        show(compare(work, rate, seconds=seconds))
    for dongles in DONGLES if work.interface is None else ():
        show(compare(replace(work, dongles=dongles), DONGLE_RATE, seconds=seconds))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--interface", help="default: vcan0 where there is one")
    parser.add_argument("--database", type=Path, default=DATABASE)
    parser.add_argument("--rate", type=float, default=FRAMES_PER_SECOND)
    parser.add_argument("--peer-rate", type=float, help="where the peer cannot keep up")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--curve-seconds", type=float, default=3.0, help="for each rate; 0 for no curves")
    return parser.parse_args()


def main() -> int:
    options = parse()
    work = Work(options.database, options.interface or ("vcan0" if has_interface("vcan0") else None))
    if counts_in_ticks():
        show_skipped("CPU time on this kernel, which counts it in ticks")
        return 0
    cost = compare(work, options.rate, options.peer_rate, options.seconds, options.rounds)
    show(cost)
    if options.curve_seconds:
        show_curves(work, options.curve_seconds)
    # A system call of the stand-in costs the peer next to nothing, so it is for comparing oneself with.
    return 0 if cost.ratio >= REQUIRED_RATIO or work.interface is None else 1


if __name__ == "__main__":
    raise SystemExit(main())
