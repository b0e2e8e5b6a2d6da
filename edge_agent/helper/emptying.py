"""When the helper is to take an interface down and up, and from when on its queue is known to be empty."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

# What else tells that a queue is empty, the interface's counters or a late echo, comes first.
_PATIENCE_NS: Final = 200_000_000
# An echo of before may have been read and not been heard yet: it must not pass for that of the next frame.
_STEADY_NS: Final = 100_000_000
# For the answer, and for the bus to be open again.
_LONGEST_NS: Final = 20_000_000_000
# As long as the helper leaves an interface alone.
_PAUSE_NS: Final = 10_000_000_000


class Look(Struct, frozen=True):
    """`wanted`: nothing is sent before the queue is empty. `opening`: which opening of the bus is up, None
    while none is. `is_there`: a helper can be asked."""

    wanted: bool
    opening: int | None
    is_there: bool


class Emptying:
    """idle -> waiting -> asked -> done -> idle. Times are `now_ns` of CLOCK_BOOTTIME.

    A helper that refuses, or does not answer, is not asked again for a while: until then it is as if there
    were none.
    """

    def __init__(self) -> None:
        self._phase: Literal["idle", "waiting", "asked", "done"] = "idle"
        self._since_ns = 0
        self._not_before_ns = 0
        self._opening: int | None = None
        self._open_since_ns = 0

    def can_empty(self, now_ns: int, *, is_there: bool) -> bool:
        """Whether it is, or will be, the helper that empties the queue: no frame has to find out."""
        return is_there and (self._phase in ("asked", "done") or now_ns >= self._not_before_ns)

    def step(self, look: Look, now_ns: int) -> Literal["", "ask", "empty"]:
        """What is to be done: ask the helper, to be followed by `answered`; or nothing is inside any more."""
        if self._phase in ("asked", "done"):
            return self._step_done(look, now_ns)
        if not look.wanted or look.opening is None or not self.can_empty(now_ns, is_there=look.is_there):
            self._phase = "idle"
            return ""
        if self._phase == "idle":
            self._phase, self._since_ns = "waiting", now_ns
        if now_ns - self._since_ns < _PATIENCE_NS:
            return ""
        self._phase, self._since_ns, self._opening = "asked", now_ns, look.opening
        return "ask"

    def answered(self, *, done: bool, wait_ns: int, now_ns: int) -> None:
        """What has become of it; `wait_ns`: for how long a refused request would be refused again."""
        if self._phase != "asked":
            return
        if done:
            self._phase, self._open_since_ns = "done", now_ns
        else:
            self._give_up(now_ns, wait_ns)

    def _step_done(self, look: Look, now_ns: int) -> Literal["", "empty"]:
        if now_ns - self._since_ns >= _LONGEST_NS:
            self._give_up(now_ns, 0)
        elif self._phase == "done":
            # The socket of before fails with the going down: what it has read back is not told any more.
            if look.opening in (None, self._opening):
                self._open_since_ns = now_ns
            elif now_ns - self._open_since_ns >= _STEADY_NS:
                self._phase = "idle"
                return "empty" if look.wanted else ""
        return ""

    def _give_up(self, now_ns: int, wait_ns: int) -> None:
        self._phase = "idle"
        self._not_before_ns = now_ns + (wait_ns or _PAUSE_NS)
