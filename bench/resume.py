"""Clients that come back all at once, with Last-Event-ID, to a full ring of 10,000 events.

    python bench/resume.py [--clients 200] [--missed 1000] [--rounds 3]

Each has missed 1,000 events and 200 new ones come per second. Compared with sse-starlette, see
`bench/sides/sse_servers.py`, is the CPU time of the server for a client, until all of them get live events;
and the time from its request to its first live event. Every client must get all it missed.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median

from bench.report import Comparison, compare, in_turn, show
from bench.sides.sse_servers import MARK, RING_EVENTS, SSE_STARLETTE, STAMP, Clients, Plan, serving

EVENTS_PER_SECOND = 200
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Result(Comparison):
    clients: int
    missed: int
    ours_median_ms: float
    ours_last_ms: float
    peer_median_ms: float
    peer_last_ms: float


@dataclass(frozen=True)
class Run:
    cpu_seconds: float
    delays_ms: list[float]


def newest_stamp_ns(data: bytes) -> int:
    """When the last event in `data` was made that is there as a whole, 0 where none is."""
    for rest in reversed(data.rsplit(STAMP, 2)[1:]):
        stamp, end, _ = rest.partition(b"}")
        if end:
            return int(stamp)
    return 0


def measure(name: str, clients: int, missed: int) -> Run:
    plan = Plan(EVENTS_PER_SECOND, EVENTS_PER_SECOND * int(PATIENCE_SECONDS), RING_EVENTS, missed)
    with serving(name, plan) as server:
        server.begin()
        cpu_before = server.cpu_seconds()
        header = f"Last-Event-ID: {server.resume_id}\r\n"
        with contextlib.closing(Clients(server.port, clients, header)) as connected:
            delays_ms = delays_until_live(connected, missed)
        return Run(server.cpu_seconds() - cpu_before, delays_ms)


def delays_until_live(clients: Clients, missed: int) -> list[float]:
    counts: Counter[int] = Counter()
    live_ns: dict[int, int] = {}
    for client, data in clients.read(time.monotonic() + PATIENCE_SECONDS):
        counts[client] += data.count(MARK)
        if client not in live_ns and newest_stamp_ns(data) > clients.connected_ns[client]:
            live_ns[client] = time.monotonic_ns()
            if counts[client] < missed:
                raise SystemExit(f"a client got {counts[client]} of {missed} events that it missed")
        if len(live_ns) == len(clients.sockets):
            return [(live_ns[one] - clients.connected_ns[one]) / 1e6 for one in live_ns]
    raise SystemExit(f"only {len(live_ns)} clients of {len(clients.sockets)} got live events")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--missed", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    runs = in_turn(
        options.rounds,
        *(partial(measure, name, options.clients, options.missed) for name in ("ours", SSE_STARLETTE)),
    )
    costs = [tuple(run.cpu_seconds for run in pair) for pair in runs]
    found = compare(SSE_STARLETTE, "ms of CPU per client", costs, options.clients / 1e3)
    typical = [median(median(run.delays_ms) for run in side) for side in zip(*runs, strict=True)]
    last = [median(max(run.delays_ms) for run in side) for side in zip(*runs, strict=True)]
    show(
        Result(
            **asdict(found),
            clients=options.clients,
            missed=options.missed,
            ours_median_ms=typical[0],
            ours_last_ms=last[0],
            peer_median_ms=typical[1],
            peer_last_ms=last[1],
        )
    )


if __name__ == "__main__":
    main()
