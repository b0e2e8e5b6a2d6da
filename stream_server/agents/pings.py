"""How old what comes may be: pings of whoever receives, and the ages that name them. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

from can_stream.protocol.hop import Age

PING_SECONDS: Final = 0.25
_REMEMBERED: Final = 1024


class Pings:
    """The pings of one connection, numbered from 1. Moments are nanoseconds of CLOCK_BOOTTIME.

    `welcomed_ns`: when the welcome was said that all packets come after, None: none was.
    """

    def __init__(self) -> None:
        self.welcomed_ns: int | None = None
        self._sent_at: deque[int] = deque(maxlen=_REMEMBERED)
        self._next = 1

    def next(self, now_ns: int) -> int:
        """The number of a ping that is sent now."""
        self._sent_at.append(now_ns)
        self._next += 1
        return self._next - 1

    def born_ns(self, age: Age | None, now_ns: int) -> int | None:
        """The moment before which nothing of a packet was made that has just come; None: not known.

        It was on its way since the ping that it names had come, which was held for so long, or less; and what
        names none, since the welcome.
        """
        if age is None or age.age_us is None:
            return None
        if not age.ping and self.welcomed_ns is not None:
            return min(self.welcomed_ns, now_ns) - age.age_us * 1000
        place = age.ping - self._next + len(self._sent_at)
        if not age.ping or not 0 <= place < len(self._sent_at):
            return None
        transit_ns = max(0, now_ns - self._sent_at[place] - age.held_us * 1000)
        return now_ns - age.age_us * 1000 - transit_ns


class Heard:
    """The newest ping that has come from whoever receives, for the ages that are sent to it."""

    def __init__(self) -> None:
        self._number = 0
        self._at_ns = 0

    def came(self, number: int, now_ns: int) -> None:
        """A ping. One that is no newer says nothing."""
        if number > self._number:
            self._number, self._at_ns = number, now_ns

    def age(self, born_ns: int, now_ns: int) -> Age:
        """The age of what was made at `born_ns` at the earliest, as it is sent now."""
        held_us = (now_ns - self._at_ns) // 1000 if self._number else 0
        return Age(-((born_ns - now_ns) // 1000), self._number, held_us)
