"""For how long a bus may be written to without hearing from the server again."""

from __future__ import annotations

from collections.abc import Collection


class Lease:
    """It runs from when the own ping was sent whose answer named the activation: a moment before the server
    said so, whatever the way took. Times are CLOCK_BOOTTIME."""

    def __init__(self, lease_ns: int) -> None:
        self._lease_ns = lease_ns
        self._activation: str | None = None
        self._granted_ns: int | None = None
        self._asked_ns: int | None = None

    def begin(self, activation: str | None) -> None:
        """What is relayed from now on; what another activation was granted does not count."""
        if activation != self._activation:
            self._activation = activation
            self._granted_ns = self._asked_ns = None

    def answered(self, ping_sent_ns: int, activations: Collection[str]) -> None:
        """The answer to a ping. One that does not name the activation any more ends the lease at once."""
        if self._asked_ns is not None and ping_sent_ns < self._asked_ns:
            return
        self._asked_ns = ping_sent_ns
        self._granted_ns = ping_sent_ns if self._activation in activations else None

    def holds(self, now_ns: int) -> bool:
        """Whether anything may be sent."""
        return self._granted_ns is not None and 0 <= now_ns - self._granted_ns <= self._lease_ns
