"""What a sink knows of its driver: what is inside, and whether more may go in."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.relay.burst import Burst
from edge_agent.relay.leftover.late import LateFrames
from edge_agent.relay.record import MAX_BURST


class Driver:
    """One burst at a time; one frame, until an echo has come since the last trouble.

    After trouble nothing goes in before it is known to be empty: it may hold frames that are old by now.
    `late`: what comes out of it as if it were others'.
    """

    def __init__(self, late: LateFrames | None = None) -> None:
        self.burst: Burst | None = None
        self.late = LateFrames() if late is None else late
        self._abandoned: Burst | None = None
        # A process before this one may have left frames inside, also some that it had given up and settled.
        self.must_empty = True
        self._trusted = False
        self._left: list[bytes] = []
        self._may_probe = True
        self._heard = self._answers = False

    @property
    def limit(self) -> int:
        """How many frames the next burst may have."""
        return MAX_BURST if self._trusted and not self.must_empty else 1

    @property
    def awaits(self) -> bool:
        """Whether something may come back from it that matters here."""
        return self.burst is not None or bool(self._left)

    @property
    def has_left(self) -> bool:
        """Whether frames that were given up may still be inside."""
        return bool(self._left) or bool(self.late)

    @property
    def is_abandoned(self) -> bool:
        """Whether the socket that wrote the burst is gone: its echoes are told from others' no more."""
        return self.burst is not None and self.burst is self._abandoned

    def reopened(self) -> None:
        """The interface is open anew: what was written before comes out unmarked."""
        burst = self.burst
        keys: Sequence[bytes] = [] if self._answers else self._left
        if burst is not None and burst.confirms == "bus":
            self._abandoned, keys = burst, [*keys, *burst.awaited()]
        if not self._answers:
            self._left = []
        self.late.leave(keys)

    def takes(self, *, can_probe: bool) -> bool:
        """Whether a burst may go in. `can_probe`: one frame may find out whether it is empty, which nothing
        else can; a second one after a silent first would only be one more that can be late."""
        return self.burst is None and (not self.must_empty or (can_probe and self._may_probe))

    def open(self, burst: Burst) -> None:
        """It is about to be written."""
        self.burst, self._heard = burst, False

    def cancel(self) -> None:
        """Nothing of it was written."""
        self.burst = None

    def confirmed(self) -> None:
        """All of the burst has come out; so has what was inside before it, for a driver keeps the order."""
        self.burst = None
        self._trusted = True
        self.emptied()

    def echo(self, key: bytes) -> int | None:
        """The row of the burst that this is the echo of; -1: of what was given up; None: of neither."""
        row = self._late(key)
        if row is None and self.burst is not None:
            row = self.burst.echo(key)
        self._heard |= row is not None
        return row

    def echoes(self, keys: list[bytes]) -> list[int]:
        """The rows of the burst that these are the echoes of, where they come in order and nothing that was
        given up may be among them; none else, and then each is to be told to `echo`."""
        if self._left or self.burst is None or not keys:
            return []
        rows = self.burst.echo_in_order(keys)
        self._heard |= bool(rows)
        return rows

    def took_late(self, taken: int) -> None:
        """So many frames that were given up were taken after all: where nothing but that ever confirms them,
        they wait no more."""
        if self._answers and taken:
            del self._left[:taken]
            if not self._left:
                self.emptied()

    def give_up(self) -> int:
        """The burst has had no echo for too long, or its bus is gone: how many of its frames are in doubt."""
        burst, self.burst = self.burst, None
        if burst is None:
            return 0
        awaited = burst.awaited()
        self._may_probe = self._trusted or self._heard
        if burst is not self._abandoned:
            self._left += awaited
            self._answers = burst.confirms != "bus"
        self._trusted, self.must_empty = False, True
        self._keep_left()
        return len(awaited)

    def emptied(self) -> None:
        """Nothing of before is inside any more."""
        self._left.clear()
        self.late.gone()
        self.must_empty, self._may_probe = False, True

    def _late(self, key: bytes) -> int | None:
        if key not in self._left:
            return None
        self._left.remove(key)
        self._keep_left()
        if not self._left:
            self.emptied()
        return -1

    def _keep_left(self) -> None:
        if not self._answers:
            self.late.given_up(self._left)
