"""The gateway's clocks, and whether its wall clock can be believed: a Raspberry Pi has none of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from can_stream.protocol.clock_record import WALL_PERIOD_SECONDS
from can_stream.wall_clock import is_synchronised

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_MAX_BOOT_ID_CHARACTERS: Final = 64


class Clock:
    """What time it is on this machine; tests pass their own."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since some moment of this boot; never goes back."""
        return time.monotonic_ns()

    def monotonic_seconds(self) -> float:
        """Seconds of the same clock."""
        return self.monotonic_ns() / 1e9

    def boottime_ns(self) -> int:
        """Nanoseconds since this machine was started; it runs on while the machine sleeps."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        """Blocks this thread for `seconds` of the monotonic clock."""
        time.sleep(seconds)

    def wall_ns(self) -> int:
        """Nanoseconds UTC since 1970, as far as this machine knows.

        What a packet cannot hold, from 2116 on, begins anew in 1970: such a clock is wrong, and its times go
        on all the same, so that they can be corrected.
        """
        return self.system_ns() % (WALL_PERIOD_SECONDS * 10**9)

    def system_ns(self) -> int:
        """What the machine's wall clock says."""
        return time.time_ns()

    def wall_offset_ns(self) -> int:
        """How far the wall clock is ahead of the monotonic one: the least disturbed of three looks."""
        looks = []
        for _ in range(3):
            before_ns, wall_ns, after_ns = self.monotonic_ns(), self.wall_ns(), self.monotonic_ns()
            looks.append((after_ns - before_ns, wall_ns - (before_ns + after_ns) // 2))
        return min(looks)[1]

    def boot_id(self) -> str:
        """The kernel's random name of this boot; "unknown" where there is none."""
        try:
            return _BOOT_ID.read_text("ascii").strip()[:_MAX_BOOT_ID_CHARACTERS] or "unknown"
        except (OSError, ValueError):
            return "unknown"

    def synchronised(self) -> bool:
        """Whether a time service keeps the wall clock right; False where that cannot be known."""
        return is_synchronised()
