"""The relay beside two bare python-can bridges with a JSON message a frame, in turn, on the same buses.

    python bench/relay.py [--rows whole,latency,cost,memory] [--seconds 60]

- whole: the highest rate that the bridges keep, one way, then half of it both ways; what is on B is what A
  sent, in order (SHA-256), while somebody reads the group's sampled console.
- latency: a question on A, its answer on B, as seen on A; idle and beside 2,000 frames/s on both buses; an
  ISO-TP transfer of 4,095 bytes with eight frames to a flow control; with added delay to the server.
- cost: CPU time per frame of both agents and the server at 4,000 frames/s one way; bytes down and up; what
  the sink's agent writes.
- memory: the sink's agent comes while 200,000 frames wait at the server (only when asked for).

`delay_ms` is added to the round trip of each gateway to its server. Buses are vcan0 and vcan1 where they are.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.receive import has_interface
from bench.relay_nodes import IDS, BusName, Node, nodes, two_buses
from bench.relay_parts import Parts, bare, ours, until_relayed
from bench.relay_tester import question_times_ms, transfer_seconds
from bench.report import show
from tests.helpers.conditions import eventually
from tests.helpers.memory import resident

RATES: Final = (1_500, 2_000, 2_500, 3_000, 4_000, 5_000, 6_000)
COST_RATE: Final = 4_000
BESIDE_RATE: Final = 2_000
DELAYS_MS: Final = (0, 30, 100)
WAITING_FRAMES: Final = 200_000
_SETTLE_SECONDS: Final = 10.0
Sides = dict[str, BusName]


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
class Cost:
    """CPU time of all three processes; `lost` of ours and of the bridges."""

    name: str
    ratio: float
    ours: float
    peer: float
    unit: str
    lost: int
    peer_lost: int
    holds: bool


@dataclass(frozen=True)
class Share:
    name: str
    value: float
    bound: str
    holds: bool


@contextmanager
def standing(kind: str, buses: Sides, delay_ms: int | None = None) -> Iterator[tuple[Parts, dict[str, Node]]]:
    """The relay (`ours`) or the bridges between two buses with a node on each."""
    delay = None if not delay_ms else delay_ms / 2_000
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        parts = stack.enter_context(ours(buses, Path(name), delay) if kind == "ours" else bare(buses, delay))
        found = stack.enter_context(nodes(buses))
        until_relayed(found)
        yield parts, found


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


def highest_bare_rate(buses: Sides, seconds: float) -> float:
    """What the bridges keep without a loss, in steps; 0 where it is none of them."""
    kept = 0.0
    with standing("bare", buses) as (_, found):
        for rate in RATES:
            if not one_way(found, rate, seconds)[2]:
                break
            kept = float(rate)
    return kept


def whole(buses: Sides, seconds: float, rate: float | None = None) -> list[Whole]:
    """`rate`: None is the highest that the bridges keep, and at least the lowest of the steps."""
    rate = rate or max(highest_bare_rate(buses, min(seconds, 5.0)), float(RATES[0]))
    rows = []
    with standing("ours", buses) as (parts, found), contextlib.closing(ConsoleReader(parts)) as console:
        for name, run, one_rate in (
            ("one way", one_way, rate),
            ("both ways, each", both_ways, rate / 2),
        ):
            shown = console.shown
            sent, came, same = run(found, one_rate, seconds)
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


def latencies(buses: Sides, delay_ms: int, rounds: int = 2, times: int = 100) -> list[Delay]:
    """Idle, beside traffic, and a transfer: each of ours beside the bridges, in turn."""
    spent: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for kind in ("bare", "ours"):
            with standing(kind, buses, delay_ms) as (_, found):
                spent.setdefault((kind, "idle"), []).extend(question_times_ms(found, times, 0.02))
                with traffic(found, BESIDE_RATE):
                    spent.setdefault((kind, "busy"), []).extend(question_times_ms(found, times, 0.02))
                time.sleep(1.0)
                transfer = transfer_seconds(found)
                spent.setdefault((kind, "iso-tp"), []).append(1e3 * transfer if transfer else float("inf"))
    return [
        _row(name, delay_ms, spent["ours", name], spent["bare", name]) for name in ("idle", "busy", "iso-tp")
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


def cost(buses: Sides, seconds: float, rounds: int = 3) -> list[Cost | Share]:
    """CPU time per frame, one way; then what goes up and down, and to the sink's disk."""
    spent: dict[str, list[float]] = {"ours": [], "bare": []}
    lost = {"ours": 0, "bare": 0}
    for _ in range(rounds):
        for kind, of_kind in spent.items():
            with standing(kind, buses) as (parts, found):
                before = parts.cpu_seconds
                sent, came, _ = one_way(found, COST_RATE, seconds)
                of_kind.append((parts.cpu_seconds - before) / sent * 1e6)
                lost[kind] += sent - came
    mine, theirs = statistics.median(spent["ours"]), statistics.median(spent["bare"])
    ratio = statistics.median(b / a for a, b in zip(*spent.values(), strict=True))
    name = f"{COST_RATE:,} frames/s, bus to bus"
    row = Cost(name, ratio, mine, theirs, "us of CPU per frame", lost["ours"], lost["bare"], ratio >= 5)
    return [row, *shares(buses, seconds)]


def shares(buses: Sides, seconds: float) -> list[Share]:
    with standing("ours", buses, 1) as (parts, found):
        up, down, written = parts.passed("a")[0], parts.passed("b")[1], _written(parts.pids["b"])
        one_way(found, COST_RATE, seconds)
        up, down = parts.passed("a")[0] - up, parts.passed("b")[1] - down
        written = _written(parts.pids["b"]) - written
        of_b = resident(parts.pids["b"]).most / 2**20
    return [
        Share("bytes down per byte up", down / up, "at most 1.1", down <= 1.1 * up),
        Share("bytes that the sink's agent gave to files", written, "0 for the relay", written == 0),
        Share("the sink's agent at its most, MiB", of_b, "at most 55", of_b <= 55),
    ]


def _written(pid: int) -> int:
    """proc(5), io: what it has made the kernel write to a disk."""
    fields = Path(f"/proc/{pid}/io").read_text().split()
    return int(fields[fields.index("write_bytes:") + 1])


def memory(buses: Sides) -> list[Share]:
    """The sink's agent is gone while frames come to wait at the server, then comes back."""
    with standing("ours", buses) as (parts, found):
        os.kill(parts.pids["b"], signal.SIGKILL)
        found["a"].send_numbered(IDS["a"].start + 3, WAITING_FRAMES, 8_000.0)
        came = len(found["b"].seen)
        parts.start("b")
        with contextlib.suppress(AssertionError):
            eventually(lambda: len(found["b"].seen) > came + 50_000, "they come", 60.0)
        found_mib = resident(parts.pids["b"]).most / 2**20
        name = f"the sink's agent at its most, MiB, {len(found['b'].seen) - came:,} frames came late"
        return [Share(name, found_mib, "at most 55", found_mib <= 55)]


def rows_of(name: str, buses: Sides, seconds: float) -> list[Any]:
    if name == "latency":
        return [row for delay in DELAYS_MS for row in latencies(buses, delay)]
    if name == "whole":
        return list(whole(buses, seconds))
    return list(memory(buses) if name == "memory" else cost(buses, min(seconds, 10.0)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", default="whole,latency,cost")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    kernel = has_interface("vcan0") and has_interface("vcan1")
    print(f"buses: {'vcan0 and vcan1' if kernel else 'udp_multicast of python-can'}")
    holds = True
    for name in options.rows.split(","):
        for row in rows_of(name, two_buses(kernel), options.seconds):
            show(row)
            holds &= row.holds
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
