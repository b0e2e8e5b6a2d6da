"""How old frames were when they were confirmed: when their echoes came, or adapter or queue took them."""

from __future__ import annotations

from typing import Final

from edge_agent.relay.hop_ages import HopAges

_MOST: Final = 8_192


class Latencies:
    """Ages since they were last taken, of very many the newest. `last_ms`: as taken last. `hops`: of all."""

    def __init__(self) -> None:
        self.hops = HopAges()
        self.last_ms: tuple[float, float] | None = None
        self._ages_ms: list[float] = []

    def add(self, age_ns: int) -> None:
        """One frame is on the bus, at most so old."""
        if len(self._ages_ms) >= _MOST:
            del self._ages_ms[: _MOST // 2]
        self._ages_ms.append(round(age_ns / 1e6, 3))

    def take_ms(self) -> tuple[float, float] | None:
        """p50 and p99 in milliseconds; None where there were none."""
        ages, self._ages_ms = sorted(self._ages_ms), []
        self.last_ms = (ages[len(ages) // 2], ages[len(ages) * 99 // 100]) if ages else None
        return self.last_ms
