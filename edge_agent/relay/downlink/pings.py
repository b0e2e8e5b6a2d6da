"""What the pings of one connection prove: how long a message was on its way, and since when a lease runs."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from can_stream.protocol.hop import Age

# At the shortest of leases eight go in a second: what is held longer than this bounds nothing of use.
MAX_KEPT: Final = 1024


class Pings:
    """When each was sent, on a clock that runs while the machine sleeps. Numbers begin at 1."""

    def __init__(self) -> None:
        self._sent_ns: OrderedDict[int, int] = OrderedDict()
        self._newest = 0
        self._answered = 0

    def send(self, now_ns: int) -> int:
        """The number of a ping that is sent now."""
        self._newest += 1
        self._sent_ns[self._newest] = now_ns
        while len(self._sent_ns) > MAX_KEPT:
            self._sent_ns.popitem(last=False)
        return self._newest

    def answered(self, number: int) -> int | None:
        """When the ping was sent whose answer has come.

        None where that is forgotten, and for what was not asked or is answered already: no lease comes of it.
        """
        if not self._answered < number <= self._newest:
            return None
        self._answered = number
        return self._sent_ns.get(number)

    def unanswered_since_ns(self) -> int | None:
        """When the oldest ping was sent that has no answer, nor a later one; None where all have."""
        return self._sent_ns.get(self._answered + 1)

    def born_ns(self, age: Age, now_ns: int) -> int | None:
        """The earliest moment at which the oldest frame of what comes now may have been read; None: unknown.

        It was on its way at most since the ping that its age names was sent, less what the sender held that.
        """
        sent_ns = self._sent_ns.get(age.ping)
        if age.age_us is None or sent_ns is None:
            return None
        left_ns = sent_ns + age.held_us * 1000
        if left_ns > now_ns:  # held longer than there was to hold it: one of two clocks is not to be believed
            return None
        return left_ns - age.age_us * 1000
