"""When frames begin to be stamped by another clock, and which of them already are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from can_stream.protocol.clock_record import ClockRecord

# The kernel slews both clocks alike: what moves one against the other is that somebody set the wall clock.
STEP_NS: Final = 500_000_000
LOOK_SECONDS: Final = 1.0
# What was stamped before the clock was set is read within this time, also from a driver with a beat.
_SETTLED_NS: Final = 1_000_000_000
_LATE_NS: Final = 100_000_000
_NO_BOOT_ID: Final = "unknown"


class ClockWatch:
    """The clock that stamps one dongle's frames. Look often: at each turn, at least each second.

    `record` is what holds for the lanes. Once a look has found another clock, `split` says how many rows of
    what is read the old one has stamped; `tell` makes the new one hold, when rows of it come or it `is_due`.
    """

    def __init__(self, boot_id: str, monotonic_ns: int, offset_ns: int, *, synchronised: bool) -> None:
        self.record = ClockRecord("" if boot_id == _NO_BOOT_ID else boot_id, offset_ns, synchronised)
        self._next: ClockRecord | None = None
        self._looked_ns = self._asked_ns = monotonic_ns
        self._earlier_ns = self._found_ns = monotonic_ns

    def look(self, monotonic_ns: int, offset_ns: int, is_synchronised: Callable[[], bool]) -> None:
        """The clocks as they are now. `is_synchronised` is asked each second, and when the clock was set."""
        self._earlier_ns, self._looked_ns = self._looked_ns, monotonic_ns
        latest = self._next or self.record
        is_set = abs(offset_ns - latest.offset_ns) >= STEP_NS
        if not is_set and monotonic_ns - self._asked_ns < LOOK_SECONDS * 1e9:
            return
        self._asked_ns = monotonic_ns
        synchronised = is_synchronised()
        if is_set or synchronised != latest.synchronised:
            self._next = ClockRecord(latest.boot_id, offset_ns, synchronised)
            self._found_ns = monotonic_ns

    @property
    def is_due(self) -> bool:
        """Whether nothing of the old clock can come any more."""
        if self._next is None:
            return False
        return not self._was_set or self._looked_ns - self._found_ns >= _SETTLED_NS

    @property
    def changes(self) -> bool:
        """Whether another clock was found that was not told yet."""
        return self._next is not None

    def tell(self) -> ClockRecord:
        """The new clock holds from here on."""
        self.record, self._next = self._next or self.record, None
        return self.record

    def split(self, timestamp_ns: NDArray[np.int64]) -> int:
        """How many of these rows, just read and in order of arrival, were stamped by the clock of `record`.

        A row is of the clock by which it came since the look before the last, or came more lately.
        """
        if self._next is None or not self._was_set:
            return len(timestamp_ns)
        old, new = (self._unlikely(timestamp_ns, clock.offset_ns) for clock in (self.record, self._next))
        total = np.concatenate([[0.0], old.cumsum()]) + np.concatenate([new[::-1].cumsum()[::-1], [0.0]])
        return int(total.argmin())

    @property
    def _was_set(self) -> bool:
        return self._next is not None and abs(self._next.offset_ns - self.record.offset_ns) >= STEP_NS

    def _unlikely(self, timestamp_ns: NDArray[np.int64], offset_ns: int) -> NDArray[np.float64]:
        """How far each row lies outside the time in which it must have come; its age counts a little."""
        age = self._looked_ns - (timestamp_ns.astype(np.float64) - offset_ns)
        longest = self._looked_ns - self._earlier_ns + _LATE_NS
        return np.maximum(-age, 0) + np.maximum(age - longest, 0) + np.maximum(age, 0) * 1e-3
