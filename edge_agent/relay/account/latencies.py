"""How old frames were when they were confirmed: when their echoes came, or adapter or queue took them."""

from __future__ import annotations

from typing import Final

from edge_agent.relay.account.hop_ages import HopAges

_MOST: Final = 8_192


class Latencies:
    """Ages since they were last taken, of very many the newest. `last_ms`: as taken last. `hops`: of all."""

    def __init__(self) -> None:
        self.hops = HopAges()
        self.last_ms: tuple[float, float] | None = None
        self._ages_ns: list[int] = []

    def add(self, age_ns: int) -> None:
        """One frame is on the bus, at most so old."""
        self.add_all([age_ns])

    def add_all(self, ages_ns: list[int]) -> None:
        """As `add`, of each of a burst."""
        if len(self._ages_ns) >= _MOST:
            del self._ages_ns[: _MOST // 2]
        self._ages_ns += ages_ns

    def take_ms(self) -> tuple[float, float] | None:
        """p50 and p99 in milliseconds; None where there were none."""
        ages, self._ages_ns = sorted(self._ages_ns), []
        found = (ages[len(ages) // 2], ages[len(ages) * 99 // 100]) if ages else None
        self.last_ms = None if found is None else (round(found[0] / 1e6, 3), round(found[1] / 1e6, 3))
        return self.last_ms
