"""What is made of counters that two keep: losses counted once, a socket that has gone deaf."""

from __future__ import annotations

from typing import Final

from edge_agent.host.rtnetlink import InterfaceCounters

# How long an interface may receive while its socket does not.
STALL_SECONDS: Final = 2.0


class TwoWitnesses:
    """Counts what two may tell of, each sometimes without the other; what both tell is counted once."""

    def __init__(self) -> None:
        self.total = 0
        self._told = [0, 0]

    def tell(self, first: int, second: int) -> int:
        """How many of these are new."""
        self._told = [self._told[0] + first, self._told[1] + second]
        new = max(self._told) - self.total
        self.total += new
        return new


class Stall:
    """Finds out that a socket gets nothing although its interface receives."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._frames_seen = 0
        self._since_seconds: float | None = None

    def look(self, received: int, frames_seen: int, now_seconds: float) -> bool:
        """Whether what `received` has grown by has not come for `STALL_SECONDS`."""
        if self._received is None or frames_seen != self._frames_seen or received < self._received:
            self._received, self._frames_seen, self._since_seconds = received, frames_seen, None
        elif self._since_seconds is None and received > self._received:
            self._since_seconds = now_seconds
        return self._since_seconds is not None and now_seconds - self._since_seconds >= STALL_SECONDS


def grown(before: InterfaceCounters, now: InterfaceCounters) -> dict[str, int]:
    """By how much each counter of losses has grown."""
    names = ("rx_over_errors", "rx_fifo_errors", "rx_missed_errors", "rx_dropped")
    return {name: max(getattr(now, name) - getattr(before, name), 0) for name in names}
