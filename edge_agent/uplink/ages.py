"""How old what is sent is, as the agent says it on one data connection."""

from __future__ import annotations

from can_stream.lanes.held import Held
from can_stream.protocol.hop import Age


class SentAges:
    """Names the server's newest ping in each age, so that the server can bound how long the way was.

    Times are of CLOCK_BOOTTIME. `is_wanted`: the server takes ages.
    """

    def __init__(self) -> None:
        self.is_wanted = False
        self._ping = 0
        self._came_ns = 0

    def take_ping(self, number: int, now_ns: int) -> None:
        """A ping of the server has come. If it waited to be read, the way seems longer, never shorter."""
        if number > self._ping:
            self._ping, self._came_ns = number, now_ns

    def of(self, held: Held, now_ns: int) -> Age | None:
        """Of a packet whose envelope is made now; None where the server wants none."""
        if not self.is_wanted:
            return None
        # What came later than now was made by another clock.
        is_known = 0 < held.born_ns <= now_ns
        age_us = -(-(now_ns - held.born_ns) // 1000) if is_known else None
        return Age(age_us, self._ping, (now_ns - self._came_ns) // 1000 if self._ping else 0)
