"""The relay beside two bare python-can bridges with a JSON message a frame, in turn.

    python bench/relay.py [--rows whole,latency,cost,memory] [--seconds 60] [--rounds 3]

- whole: the highest rate that the bridges keep, one way, then half of it both ways; what is on B is what A
  sent, in order (SHA-256), while somebody reads the group's sampled console.
- latency: a question on A, its answer on B, as seen on A; idle and beside 2,000 frames/s on both buses; an
  ISO-TP transfer of 4,095 bytes with eight frames to a flow control; with added delay to the server.
- cost: CPU time per frame of both agents and the server at 4,000 frames/s one way; bytes down and up; what
  the sink's agent writes.
- memory: the sink's agent comes while 200,000 frames wait at the server (only when asked for).

`delay_ms` is added to the round trip of each gateway to its server. Buses are vcan0 to
vcan3 where there is vcan. The relay and the bridges have two each, stand at once and are measured in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import signal
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.receive import has_interface
from bench.relay_nodes import IDS, Node, nodes, two_buses
from bench.relay_parts import Parts, bare, ours, until_relayed
from bench.relay_tester import question_times_ms, transfer_seconds
from bench.report import Comparison, compare, show
from tests.helpers.conditions import eventually
from tests.helpers.memory import resident

RATES: Final = (1_500, 2_000, 2_500, 3_000, 4_000, 5_000, 6_000)
COST_RATE: Final = 4_000
BESIDE_RATE: Final = 2_000
DELAYS_MS: Final = (30, 100)
LEAST_CHEAPER: Final = 5
WAITING_FRAMES: Final = 200_000
_SETTLE_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Whole:
    """`same`: both sides have what was sent, in order."""

    name: str
    frames_per_second: float
    seconds: float
    sent: int
    came: int
    same: bool
    shown_by_console: int
    holds: bool


@dataclass(frozen=True)
class Delay:
    """Milliseconds."""

    name: str
    delay_ms: int
    ours_p50: float
    ours_p99: float
    bare_p50: float
    bare_p99: float
    bound: str
    holds: bool


@dataclass(frozen=True)
class Cost(Comparison):
    """CPU time of all three processes; frames lost of ours and of the bridges."""

    lost: int
    peer_lost: int
    holds: bool


@dataclass(frozen=True)
class Share:
    """A figure of ours alone."""

    name: str
    value: float
    bound: str
    holds: bool


Row = Whole | Delay | Cost | Share


@dataclass(frozen=True)
class Standing:
    """What is between two buses, and a node on each of these."""

    parts: Parts
    nodes: dict[str, Node]


@contextmanager
def standing(kind: str, kernel: bool, delay_ms: int = 0) -> Iterator[Standing]:
    """The relay (`ours`) or the bridges (`bare`), on two buses of their own."""
    delay, buses = delay_ms / 2_000 if delay_ms else None, two_buses(kernel, kind)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        parts = stack.enter_context(ours(buses, Path(name), delay) if kind == "ours" else bare(buses, delay))
        found = stack.enter_context(nodes(buses))
        until_relayed(found)
        yield Standing(parts, found)


@contextmanager
def both(kernel: bool, delay_ms: int = 0) -> Iterator[tuple[Standing, Standing]]:
    """The relay and the bridges, to be measured in turn: starting them takes longer than measuring."""
    with standing("ours", kernel, delay_ms) as mine, standing("bare", kernel, delay_ms) as theirs:
        yield mine, theirs


def one_way(found: dict[str, Node], rate: float, seconds: float, way: str = "ab") -> tuple[int, int, bool]:
    """Frames sent, frames that came, and whether they are the same, in order."""
    source, sink = way[0], way[1]
    arbitration_id, count = IDS[source].start + 1, int(rate * seconds)
    before = len(found[sink].numbered(arbitration_id))
    hashed = found[source].send_numbered(arbitration_id, count, rate)
    with contextlib.suppress(AssertionError):  # said in the figures
        eventually(
            lambda: len(found[sink].numbered(arbitration_id)) >= before + count, "all", _SETTLE_SECONDS
        )
    came = found[sink].numbered(arbitration_id)[before:]
    return count, len(came), hashlib.sha256(b"".join(came)).digest() == hashed.digest()


def both_ways(found: dict[str, Node], rate: float, seconds: float) -> tuple[int, int, bool]:
    """As `one_way`, of both together."""
    results: list[tuple[int, int, bool]] = []

    def run(way: str) -> None:
        results.append(one_way(found, rate, seconds, way))

    threads = [threading.Thread(target=run, args=(way,)) for way in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(r[0] for r in results), sum(r[1] for r in results), all(r[2] for r in results)


class ConsoleReader:
    """Reads the event stream of the group's console, in a thread: how many frames it has shown."""

    def __init__(self, parts: Parts) -> None:
        assert parts.server is not None
        self.shown = 0
        self._connection = socket.create_connection(("127.0.0.1", parts.server.port))
        token = parts.server.create_token()
        path = "/api/v1/streams/groups/bridge/console"
        head = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._connection.sendall(head.encode())
        threading.Thread(target=self._read, daemon=True).start()

    def close(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _read(self) -> None:
        while data := self._connection.recv(1 << 18):
            self.shown += data.count(b"event: can_frame")


def highest_bare_rate(bridges: Standing, seconds: float) -> float:
    """What the bridges keep without a loss, in steps; 0 where it is none of them."""
    kept = 0.0
    for rate in RATES:
        if not one_way(bridges.nodes, rate, seconds)[2]:
            break
        kept = float(rate)
    return kept


def whole(mine: Standing, rate: float, seconds: float) -> list[Whole]:
    """One way, then both ways at half the rate."""
    rows = []
    with contextlib.closing(ConsoleReader(mine.parts)) as console:
        for name, run, one_rate in (
            ("one way", one_way, rate),
            ("both ways, each", both_ways, rate / 2),
        ):
            shown = console.shown
            sent, came, same = run(mine.nodes, one_rate, seconds)
            rows.append(Whole(name, one_rate, seconds, sent, came, same, console.shown - shown, same))
    return rows


@contextmanager
def traffic(found: dict[str, Node], rate: float) -> Iterator[None]:
    """Frames on both buses, as steadily as a thread can."""
    ended = threading.Event()

    def send(side: str) -> None:
        while not ended.is_set():
            found[side].send_numbered(IDS[side].start + 2, int(rate / 5), rate)

    threads = [threading.Thread(target=send, args=(side,)) for side in "ab"] if rate else []
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def latencies(
    mine: Standing, theirs: Standing, delay_ms: int, rounds: int = 3, times: int = 100
) -> list[Delay]:
    """Idle, beside traffic, and a transfer: each of ours beside the bridges, in turn."""
    spent: dict[tuple[bool, str], list[float]] = {}
    for _ in range(rounds):
        for is_ours, side in ((False, theirs), (True, mine)):
            found = side.nodes
            spent.setdefault((is_ours, "idle"), []).extend(question_times_ms(found, times, 0.02))
            with traffic(found, BESIDE_RATE):
                spent.setdefault((is_ours, "busy"), []).extend(question_times_ms(found, times, 0.02))
            time.sleep(1.0)
            transfer = transfer_seconds(found)
            spent.setdefault((is_ours, "iso-tp"), []).append(1e3 * transfer if transfer else float("inf"))
    return [
        _row(name, delay_ms, spent[True, name], spent[False, name]) for name in ("idle", "busy", "iso-tp")
    ]


def _row(name: str, delay_ms: int, mine: list[float], theirs: list[float]) -> Delay:
    (p50, p99), (bare_p50, bare_p99) = _percentiles(mine), _percentiles(theirs)
    if name == "idle":
        bound = "p50 2, p99 5 beyond twice the bridges"
        holds = p50 <= 2 * bare_p50 + 2 and p99 <= 2 * bare_p99 + 5
        shown = "question and answer, idle buses"
    elif name == "busy":
        bound, holds = "p99 15 beyond twice the bridges", p99 <= 2 * bare_p99 + 15
        shown = f"question and answer, {BESIDE_RATE:,} frames/s on both"
    else:
        bound, holds, shown = "twice the bridges", p50 <= 2 * bare_p50, "ISO-TP, 4,095 bytes"
    return Delay(shown, delay_ms, p50, p99, bare_p50, bare_p99, bound, holds)


def _percentiles(values: list[float]) -> tuple[float, float]:
    values = sorted(values)
    return statistics.median(values), values[int(0.99 * (len(values) - 1))]


def cost(mine: Standing, theirs: Standing, seconds: float, rounds: int = 3) -> Cost:
    """CPU time per frame that came, one way: what a bus of `udp_multicast` loses costs nobody anything."""
    pairs, lost = [], [0, 0]
    for _ in range(rounds):
        pair = []
        for at, side in enumerate((mine, theirs)):
            before = side.parts.cpu_seconds
            sent, came, _ = one_way(side.nodes, COST_RATE, seconds)
            pair.append((side.parts.cpu_seconds - before) / max(came, 1) * 1e6)
            lost[at] += sent - came
        pairs.append(tuple(pair))
    found = compare(f"{COST_RATE:,} frames/s, bus to bus", "us of CPU per frame", pairs)
    return Cost(**asdict(found), lost=lost[0], peer_lost=lost[1], holds=found.ratio >= LEAST_CHEAPER)


def shares(mine: Standing, seconds: float) -> list[Share]:
    """What goes up and down the ways, to the sink's disk, and what its agent holds."""
    parts, sink = mine.parts, mine.parts.pids["b"]
    up, down, written = parts.passed("a")[0], parts.passed("b")[1], _written(sink)
    one_way(mine.nodes, COST_RATE, seconds)
    up, down = parts.passed("a")[0] - up, parts.passed("b")[1] - down
    written, of_sink = _written(sink) - written, resident(sink).most / 2**20
    return [
        Share("bytes down per byte up", down / up, "at most 1.1", down <= 1.1 * up),
        Share("bytes that the sink's agent had written to a disk", written, "0", written == 0),
        Share("the sink's agent at its most, MiB", of_sink, "at most 55", of_sink <= 55),
    ]


def _written(pid: int) -> int:
    """proc(5), io: what it has made the kernel write to a disk."""
    fields = Path(f"/proc/{pid}/io").read_text().split()
    return int(fields[fields.index("write_bytes:") + 1])


def memory(mine: Standing) -> list[Share]:
    """The sink's agent is gone while frames come to wait at the server, then comes back."""
    parts, found = mine.parts, mine.nodes
    os.kill(parts.pids["b"], signal.SIGKILL)
    found["a"].send_numbered(IDS["a"].start + 3, WAITING_FRAMES, 8_000.0)
    came = len(found["b"].seen)
    parts.start("b")
    with contextlib.suppress(AssertionError):  # said in the figures
        eventually(lambda: len(found["b"].seen) > came + WAITING_FRAMES // 4, "they come", 90.0)
    most = resident(parts.pids["b"]).most / 2**20
    name = f"the sink's agent at its most, MiB, while {len(found['b'].seen) - came:,} frames come late"
    return [Share(name, most, "at most 55", most <= 55)]


def rows(wanted: Collection[str], kernel: bool, seconds: float, rounds: int) -> Iterator[Row]:
    """One after another, as they are measured."""
    short = min(seconds, 10.0)
    with both(kernel) as (mine, theirs):
        if "whole" in wanted:
            yield from whole(mine, max(highest_bare_rate(theirs, short), float(RATES[0])), seconds)
        if "latency" in wanted:
            yield from latencies(mine, theirs, 0, rounds)
        if "cost" in wanted:
            yield cost(mine, theirs, short, rounds)
        if "memory" in wanted:
            yield from memory(mine)
    for delay_ms in DELAYS_MS if {"latency", "cost"} & set(wanted) else ():
        with both(kernel, delay_ms) as (mine, theirs):
            if "cost" in wanted and delay_ms == DELAYS_MS[0]:
                yield from shares(mine, short)
            if "latency" in wanted:
                yield from latencies(mine, theirs, delay_ms, rounds)


def main() -> int:
    """The exit status is 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", default="whole,latency,cost")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3, help="of latency and cost; default: 3")
    options = parser.parse_args()
    kernel = has_interface("vcan0")
    print(f"buses: {'vcan' if kernel else 'udp_multicast of python-can'}")
    holds = True
    for row in rows(options.rows.split(","), kernel, options.seconds, options.rounds):
        show(row)
        holds &= row.holds
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
