"""What time it is: the only file of the server that reads a clock. Pure modules are told the time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from stream_server.moment import Moment

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
# The library's own functions, not wrapped, since a clock is read for every packet.
monotonic_seconds: Final = time.monotonic
"""Seconds since some moment of this boot; never goes back."""
monotonic_ns: Final = time.monotonic_ns
"""The same in nanoseconds."""
wall_ns: Final = time.time_ns
"""Nanoseconds UTC since 1970, as far as this machine knows."""


def boottime_ns() -> int:
    """Nanoseconds of this boot, those too in which the machine slept: what ages are counted on."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """The kernel's random name of this boot; "unknown" where it cannot be read."""
    try:
        return _BOOT_ID.read_text("ascii").strip()[:64] or "unknown"
    except (OSError, ValueError):
        return "unknown"


def now() -> Moment:
    """This moment on both clocks."""
    return Moment(monotonic_seconds(), wall_ns() // 1000)
