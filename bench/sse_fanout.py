"""1,000 subscribers of one stream at 1,000 events/s, five of them stalled; and the curve over subscribers.

    python bench/sse_fanout.py [--subscribers 1000] [--rounds 2] [--seconds 4] [--curve 1 10 100 2000]

Beside a queue per client (sse-starlette) and nginx with nchan, see `bench/sides/sse_servers.py`. Compared
is the CPU time of the server for a delivery (one event to one client); of nchan without its publisher. A
server that cannot deliver everything is counted by what it did deliver. The exit status is 1 when ours did
not deliver everything to every client that reads at `--subscribers`, or is not many times better than
sse-starlette.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from bench.report import compare, in_turn, show, show_skipped
from bench.sides.sse_servers import (
    MARK,
    NCHAN,
    NO_NCHAN,
    SSE_STARLETTE,
    STAMP,
    Clients,
    Plan,
    connect,
    has_nchan,
    serving,
)

EVENTS_PER_SECOND = 1_000
REQUIRED_RATIO = 15.0
STALLED = 5
STALLED_AMONG = 100
WARM_UP_SECONDS = 1.5
PATIENCE_SECONDS = 2.0
DELAY_CLIENTS = 20


@dataclass(frozen=True)
class Load:
    """What a server did; the stalled are among the subscribers. `p99_ms` is of what arrived in time."""

    server: str
    subscribers: int
    stalled: int
    delivered_percent: float
    deliveries_per_second: float
    core_percent: float
    p99_ms: float | None

    @property
    def cpu_us_per_delivery(self) -> float:
        return self.core_percent * 1e4 / max(self.deliveries_per_second, 1e-9)


class Reader:
    """Counts the events of each client, and takes the delays that some of them see."""

    def __init__(self, clients: Clients) -> None:
        self.counts: Counter[int] = Counter()
        self.delays_ms: list[float] = []
        self._clients = clients
        self._sampled = set(list(clients.sockets)[:DELAY_CLIENTS])

    def read(self, seconds: float, enough: float = float("inf")) -> int:
        """Reads so long, or until there are `enough` events; how many came."""
        before = came = self.counts.total()
        for client, data in self._clients.read(time.monotonic() + seconds):
            found = data.count(MARK)
            self.counts[client] += found
            came += found
            if client in self._sampled:
                self.delays_ms += delays_ms(data)
            if came >= enough:
                break
        return came - before


def delays_ms(data: bytes) -> Iterator[float]:
    """How old the events are whose stamps are whole."""
    now_ns = time.monotonic_ns()
    for rest in data.split(STAMP)[1:]:
        stamp, end, _ = rest.partition(b"}")
        if end:
            yield (now_ns - int(stamp)) / 1e6


@contextlib.contextmanager
def stalled_clients(port: int, count: int) -> Iterator[None]:
    """Clients that never read."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(connect(port, receive_buffer=4096))
        yield


def measure(name: str, subscribers: int, seconds: float, patience_seconds: float = PATIENCE_SECONDS) -> Load:
    stalled = STALLED if subscribers >= STALLED_AMONG else 0
    plan = Plan(EVENTS_PER_SECOND, int(EVENTS_PER_SECOND * (WARM_UP_SECONDS + seconds)))
    expected = plan.events * (subscribers - stalled)
    with (
        serving(name, plan) as server,
        stalled_clients(server.port, stalled),
        contextlib.closing(Clients(server.port, subscribers - stalled)) as clients,
    ):
        clients.wait_for_answers()
        server.begin()
        reader = Reader(clients)
        reader.read(WARM_UP_SECONDS)
        reader.delays_ms.clear()
        cpu_before, before = server.cpu_seconds(), time.monotonic()
        deliveries = reader.read(seconds)
        cpu, elapsed = server.cpu_seconds() - cpu_before, time.monotonic() - before
        reader.read(patience_seconds, expected)
    if max(reader.counts.values(), default=0) > plan.events:
        raise SystemExit(f"{name} delivered an event twice")
    delays = sorted(reader.delays_ms)
    return Load(
        name,
        subscribers,
        stalled,
        100 * reader.counts.total() / expected,
        deliveries / elapsed,
        100 * cpu / elapsed,
        delays[int(len(delays) * 0.99)] if delays else None,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--curve", type=int, nargs="*", default=[1, 10, 100, 2000])
    options = parser.parse_args()
    peers = [SSE_STARLETTE, *([NCHAN] if has_nchan() else [])]
    if not has_nchan():
        show_skipped(NO_NCHAN)

    def in_turn_with(subscribers: int, rounds: int) -> list[tuple[Load, ...]]:
        measurements = [partial(measure, name, subscribers, options.seconds) for name in ("ours", *peers)]
        return in_turn(rounds, *measurements)

    rounds = in_turn_with(options.subscribers, options.rounds)
    costs = [[load.cpu_us_per_delivery for load in loads] for loads in rounds]
    found = [
        compare(peer, "us of CPU per delivery", [(cost[0], cost[place]) for cost in costs])
        for place, peer in enumerate(peers, 1)
    ]
    for comparison in found:
        show(comparison)
    curve = [loads for subscribers in options.curve for loads in in_turn_with(subscribers, 1)]
    for loads in sorted([*rounds, *curve], key=lambda loads: loads[0].subscribers):
        for load in loads:
            show(load)
    is_complete = all(loads[0].delivered_percent == 100 for loads in rounds)
    return 0 if is_complete and found[0].ratio >= REQUIRED_RATIO else 1


if __name__ == "__main__":
    raise SystemExit(main())
