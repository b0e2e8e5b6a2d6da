"""When to try again. Full jitter, so that a fleet that lost its server does not come back in step.

AWS Architecture Blog, "Exponential Backoff And Jitter" (2015), variant "full jitter".
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

_MAX_DOUBLINGS = 32


class BackoffPolicy(Struct, frozen=True):
    """Seconds: first delay, longest delay, delay after a refusal, and after how long it counts as stable."""

    base_seconds: float = 0.5
    cap_seconds: float = 60.0
    refused_seconds: float = 300.0
    stable_seconds: float = 30.0


UPLINK_POLICY = BackoffPolicy()
# A device that is back must be read again within two seconds.
DEVICE_POLICY = BackoffPolicy(base_seconds=0.25, cap_seconds=1.5, stable_seconds=5.0)


class Backoff:
    """Says how long to wait after each failure; `uniform` gives numbers from 0 to 1."""

    def __init__(self, policy: BackoffPolicy, uniform: Callable[[], float]) -> None:
        self.policy = policy
        self.failures = 0
        self._uniform = uniform
        self._connected_at_seconds: float | None = None

    def connected(self, now_seconds: float) -> None:
        """It works since now; past failures are forgotten once it has stayed so for `stable_seconds`."""
        self._connected_at_seconds = now_seconds

    def failed(self, now_seconds: float) -> float:
        """It failed or was lost: seconds to wait, between 0 and a limit that doubles up to the cap."""
        self._forget_if_stable(now_seconds)
        limit: float = self.policy.base_seconds * 2.0 ** min(self.failures, _MAX_DOUBLINGS)
        self.failures += 1
        return self._uniform() * min(limit, self.policy.cap_seconds)

    def refused(self, now_seconds: float) -> float:
        """Authentication failed: seconds to wait, at least half of the longest delay at once."""
        self._forget_if_stable(now_seconds)
        self.failures += 1
        return self.policy.refused_seconds * (0.5 + 0.5 * self._uniform())

    def _forget_if_stable(self, now_seconds: float) -> None:
        since = self._connected_at_seconds
        if since is not None and now_seconds - since >= self.policy.stable_seconds:
            self.failures = 0
        self._connected_at_seconds = None
