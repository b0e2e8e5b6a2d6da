"""What one relayed frame costs the pure sink: taken, judged, written, heard again, settled.

    python bench/relay_sink.py [--frames 40000] [--runs 5]

CPU time per frame, no bus and no network: items of so many frames come as a server hands them over, each
burst is taken at once and read back as an echoing bus gives it. `overheard`: as many frames of others, of the
same ids, are read from the bus.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.report import cpu_seconds, show
from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of
from can_stream.protocol.control import Confirms
from can_stream.protocol.relay_control import Direction
from edge_agent.config.transmit import RelaySection
from edge_agent.relay.bus_facts import BusFacts
from edge_agent.relay.record import RECORD_BYTES, Record
from edge_agent.relay.sink import Sink, SinkLimits
from edge_agent.transmit.policy import RelayPolicy, TargetBus

RATE: Final = 4_000
START: Final = "00" * 8
ACTIVATION: Final = f"{'0' * 32}-1"
CASES: Final[Sequence[tuple[Confirms, int, bool]]] = (
    ("bus", 1, False),
    ("bus", 8, False),
    ("bus", 20, False),
    ("bus", 200, False),
    ("queue", 20, False),
    ("bus", 20, True),
)
_BUS: Final = TargetBus(listen_only=False, fd=False)
_TX: Final = np.uint8(FrameFlag.TX)
_BEGIN_NS: Final = 10**12


@dataclass(frozen=True)
class SinkCost:
    """Microseconds of CPU time per frame, the median of all runs; `bursts` of one run."""

    name: str
    frames_per_item: int
    overheard: bool
    us_per_frame: float
    bursts: int


class Trial:
    """One sink for `frames` frames in items of `size`, at 4,000 frames/s of its own clock."""

    def __init__(self, confirms: Confirms, size: int, overheard: bool) -> None:
        section = RelaySection(transmit="all", max_age_seconds=30, wake=True)
        record = Record(bytearray(RECORD_BYTES), "boot", "a" * 32, _BEGIN_NS)
        limits = SinkLimits(30.0, lease_seconds=1e6, max_bus_load=1.0, max_live_bus_load=1.0)
        self.bursts = 0
        self._sink = Sink("b", record, RelayPolicy(section), limits, _BEGIN_NS)
        self._sink.emptied(_BEGIN_NS)
        self._sink.directed(Direction("b", "a", ACTIVATION), _BEGIN_NS)
        self._sink.leased(_BEGIN_NS, [ACTIVATION])
        self._facts = BusFacts(_BUS, confirms, bit_rate=1_000_000)
        self._size = size
        self._overheard = overheard
        rows = [(0, 0x100 + row % 40, 0, 8, row.to_bytes(8, "big")) for row in range(4_096)]
        self._frames = batch_of(rows)
        others = [(0, 0x100 + row % 40, 0, 8, b"\xff" * 4 + row.to_bytes(4, "big")) for row in range(4_096)]
        self._others = batch_of(others)

    def run(self, frames: int) -> None:
        """All of them, item by item."""
        now_ns = _BEGIN_NS
        for position in range(0, frames, self._size):
            now_ns += self._size * 10**9 // RATE
            at = position % (4_096 - 2 * self._size)
            item = self._frames[at : at + self._size]
            self._sink.take_item(START, position, item, now_ns - 1_000_000, fresh=True, now_ns=now_ns)
            self._send(now_ns)
            if self._overheard:
                self._sink.loops.hear(self._others[at : at + self._size], now_ns)
            self._sink.moved()

    def _send(self, now_ns: int) -> None:
        sink = self._sink
        while (burst := sink.next_burst(now_ns, self._facts)) is not None:
            self.bursts += 1
            sink.written(len(burst), now_ns)
            echo = _own(burst)
            sink.loops.hear(echo, now_ns)
            sink.echoed(echo, now_ns)


def _own(frames: FrameBatch) -> FrameBatch:
    flags = frames.flags | _TX
    return FrameBatch(frames.timestamp_ns, frames.arbitration_id, flags, frames.length, frames.data)


def measure(confirms: Confirms, size: int, overheard: bool, frames: int, runs: int) -> SinkCost:
    """The median of `runs`, each with a sink of its own."""
    found = []
    for _ in range(runs):
        trial = Trial(confirms, size, overheard)
        found.append(cpu_seconds(functools.partial(trial.run, frames)) / frames * 1e6)
    name = f"{confirms}, items of {size}{', others of the same ids' if overheard else ''}"
    return SinkCost(name, size, overheard, statistics.median(found), trial.bursts)


def main() -> None:
    """Prints a row for each kind of bus and size of items."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    for confirms, size, overheard in CASES:
        show(measure(confirms, size, overheard, options.frames, options.runs))


if __name__ == "__main__":
    main()
