"""Timestamps of drivers, brought to the wall clock."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NEAR_NS: Final = 10 * 10**9
# Faster than two quartz clocks drift apart, slow enough not to follow a queue that fills for a moment.
CREEP: Final = 200e-6
# Frames that come later than this for so long are not late: the wall clock was set forward.
_LATE_NS: Final = 500_000_000
_LATE_FOR_NS: Final = 10**9


class TimestampMapper:
    """Maps a driver's timestamps, in whatever time they count, to wall clock nanoseconds.

    Within 10 s of the wall clock they are taken as they stand. Others count from somewhere else (since
    the adapter was plugged in, say): they get the offset with which the quickest frame so far would
    have arrived the moment it was received. It is found anew when they jump by more than 10 s, and when for
    a second all of them come half a second late or more. `creep`: how fast the offset may grow, a share.
    """

    def __init__(self) -> None:
        self.creep = CREEP
        self._offset_ns: int | None = None
        self._seen_ns = 0
        self._late_since_ns: int | None = None

    def map(self, stamp_ns: NDArray[np.int64], now_ns: int) -> NDArray[np.int64]:
        """int64[N] wall clock nanoseconds of frames with these `stamp_ns`, read at wall clock `now_ns`."""
        jumps = np.flatnonzero(np.diff(stamp_ns) < -NEAR_NS) + 1
        runs = np.split(stamp_ns, jumps)
        return np.concatenate([self._map_run(run, now_ns) for run in runs])

    def _map_run(self, stamp_ns: NDArray[np.int64], now_ns: int) -> NDArray[np.int64]:
        if not len(stamp_ns):
            return stamp_ns
        newest_ns = int(stamp_ns[-1])
        if abs(now_ns - newest_ns) <= NEAR_NS:
            self._offset_ns = None
            return stamp_ns
        seen_offset_ns = now_ns - newest_ns
        if self._offset_ns is None or abs(seen_offset_ns - self._offset_ns) > NEAR_NS:
            self._offset_ns, self._late_since_ns = seen_offset_ns, None
        else:
            crept_ns = int(max(now_ns - self._seen_ns, 0) * self.creep)
            self._offset_ns = min(self._offset_ns + crept_ns, seen_offset_ns)
            if self._is_late_for_long(seen_offset_ns - self._offset_ns, newest_ns):
                self._offset_ns = seen_offset_ns
        self._seen_ns = now_ns
        # Modulo 2**64: an offset between nonsense and now may need more bits than the sum.
        return (stamp_ns.view(np.uint64) + np.uint64(self._offset_ns % 2**64)).view(np.int64)

    def _is_late_for_long(self, late_ns: int, stamp_ns: int) -> bool:
        if late_ns < _LATE_NS:
            self._late_since_ns = None
            return False
        if self._late_since_ns is None:
            self._late_since_ns = stamp_ns
        return stamp_ns - self._late_since_ns >= _LATE_FOR_NS
