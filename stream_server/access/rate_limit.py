"""Token buckets by key: how many requests a credential, or failures an address, may make."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from functools import lru_cache
from typing import Final

MAXIMUM_KEYS: Final = 10_000


class TokenBuckets:
    """`burst` at once, then `per_second`. At most 10,000 keys are remembered; the longest unused go first."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_seconds(self, key: str, now_seconds: float) -> float:
        """0 when the key has a token left, else how long until it has one. Takes nothing."""
        return max(0.0, (1.0 - self._level(key, now_seconds)) / self._per_second)

    def take_token(self, key: str, now_seconds: float) -> float:
        """Take one; 0 when there was one, else how long until there is one (nothing is taken)."""
        wait = self.wait_seconds(key, now_seconds)
        if wait == 0:
            self._buckets[key] = (self._level(key, now_seconds) - 1.0, now_seconds)
            self._buckets.move_to_end(key)
            if len(self._buckets) > MAXIMUM_KEYS:
                self._buckets.popitem(last=False)
        return wait

    def _level(self, key: str, now_seconds: float) -> float:
        level, at_seconds = self._buckets.get(key, (float(self._burst), now_seconds))
        return min(self._burst, level + max(0.0, now_seconds - at_seconds) * self._per_second)


@lru_cache(1024)
def address_key(remote: str | None) -> str:
    """What failures of this address are counted under: an IPv4 address, or the /64 an IPv6 host may roam."""
    try:
        address = ipaddress.ip_address((remote or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
