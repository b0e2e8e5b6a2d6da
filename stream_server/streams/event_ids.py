"""Event ids that never repeat: reserved in storage ahead of the clock that they follow."""

from __future__ import annotations

from typing import Final

RESERVE_AHEAD_US: Final = 600_000_000
_RENEW_BELOW_US: Final = 450_000_000
_HEADROOM_US: Final = 300_000_000


class IdsExhaustedError(Exception):
    """Every reserved id is used: `reserved` was never raised, so the next one might be issued twice."""

    def __init__(self, reserved: int) -> None:
        self.reserved = reserved
        super().__init__(f"all event ids below the reservation {reserved} are used and no new one was stored")


class IdSource:
    """The ids of all streams of one server: microseconds that never repeat, whatever the clock does.

    `start` is the greater of the clock and the stored reservation, so that it is above every id of an
    earlier run. Every id is below what is reserved in storage. An id follows the clock only as far as
    leaves room for 300 million more; beyond that, and while the clock is behind, it is the last one plus 1:
    so events go on while a new reservation is being stored.
    """

    def __init__(self, wall_us: int, stored_reservation: int = 0) -> None:
        self.start: Final = max(wall_us, stored_reservation)
        self._highest = self.start
        self._reserved = stored_reservation

    @property
    def newest(self) -> int:
        """The highest id issued; the starting id when there was none."""
        return self._highest

    def needs_reservation(self, wall_us: int) -> int | None:
        """What to store now as the new reservation, None while the present one suffices."""
        newest = max(wall_us, self._highest)
        return newest + RESERVE_AHEAD_US if newest + _RENEW_BELOW_US > self._reserved else None

    def reserved(self, value: int) -> None:
        """`value` is in storage: ids below it may be issued."""
        self._reserved = max(self._reserved, value)

    def next_after(self, last: int, wall_us: int) -> int:
        """The id that follows `last` in its stream; IdsExhaustedError where none is reserved."""
        issued = max(last + 1, min(wall_us, self._reserved - _HEADROOM_US))
        if issued >= self._reserved:
            raise IdsExhaustedError(self._reserved)
        self._highest = max(self._highest, issued)
        return issued
