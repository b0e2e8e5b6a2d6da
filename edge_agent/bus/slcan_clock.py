"""Timestamps of slcan adapters: what they count is found from what they say, beside the reader's clock.

Lawicel's manuals have four digits, milliseconds that start again after 60000. Firmware of ArduPilot, Zubax
and ESP32RET counts them in 16 bits; a CANable 2 with Nakakiyo's firmware has eight digits, microseconds of
the running hour; arduino-canbus-monitor eight digits of milliseconds. Others write a number that is no time:
frames counted (slcanuino), ticks of 10 ms (FreeRTOS), always 0000. Nobody says which of these it is.
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.bus.driver_times import CREEP, TimestampMapper

_MS_NS: Final = 1_000_000
_US_NS: Final = 1_000
_SHORT_DIGITS: Final = 4
_LONG_DIGITS: Final = 8
# Where each starts again, the likeliest first, by digits and unit.
_PERIODS: Final = {
    (_SHORT_DIGITS, _MS_NS): (60_000, 1 << 16),
    (_LONG_DIGITS, _US_NS): (3_600_000_000, 1 << 32),
    (_LONG_DIGITS, _MS_NS): (1 << 32,),
}
# What is read at once was on the bus within this, as a rule: more, counted in milliseconds, is microseconds.
_ONE_READ_MS: Final = 50
# Between a thousand and one: what a count has to be multiplied with to be nearer to milliseconds.
_BETWEEN_UNITS: Final = 31.6
# For so long a clock is compared with the reader's before it is judged, and it may be so wrong.
_WINDOW_NS: Final = 500_000_000
_LATE_NS: Final = 200_000_000
_DRIFT: Final = 0.01
# Frames are in order but for those that an adapter has sent itself.
_GOES_BACK_NS: Final = 100_000_000
_MAX_STRIKES: Final = 2
# What frames may wait for the reader: a clock is slow where it is behind by more.
_BLUR_NS: Final = 20_000_000
_CATCH_UP: Final = 1.5
_GOOD_WINDOWS: Final = 4
_FORGIVEN_WINDOWS: Final = 20
_MAX_WINDOWS: Final = 1_024

Numbers = NDArray[np.int64]
_Step = TypeVar("_Step", int, Numbers)


class StampReader:
    """The times of frames, by the numbers behind them.

    `is_adapters`: whether the newest frame has the adapter's time; None before the first. `text`: what is
    known of the numbers.
    """

    def __init__(self) -> None:
        self.is_adapters: bool | None = None
        self._counters = {digits: _Counter(digits) for digits in (_SHORT_DIGITS, _LONG_DIGITS)}
        self._newest_digits = 0

    @property
    def text(self) -> str:
        """`four digits, ms, from 0 again after 59999`; "" where there are none."""
        return self._counters[self._newest_digits].text if self._newest_digits else ""

    def times(self, digits: Numbers, number: Numbers, now_ns: int) -> Numbers:
        """int64[N] wall clock nanoseconds of N frames, read at this time, with numbers of so many digits."""
        times_ns = np.full(len(digits), now_ns, np.int64)
        if not digits.any():
            if len(digits):
                self.is_adapters, self._newest_digits = False, 0
            return times_ns
        is_times = np.zeros(len(digits), bool)
        for width, counter in self._counters.items():
            rows = (digits > width // 2 - (width == _SHORT_DIGITS)) & (digits <= width)
            if rows.any():
                counted_ns = counter.times(number[rows], now_ns)
                if counted_ns is not None:
                    times_ns[rows], is_times[rows] = counted_ns, True
        newest = int(digits[-1])
        self._newest_digits = _LONG_DIGITS if newest > _SHORT_DIGITS else _SHORT_DIGITS if newest > 1 else 0
        if not self._newest_digits or self._counters[self._newest_digits].has_unit:
            self.is_adapters = bool(is_times[-1])
        return times_ns


class _Counter:
    """One adapter's numbers of so many digits."""

    def __init__(self, digits: int) -> None:
        self._digits = digits
        self._unit_ns = _MS_NS if digits == _SHORT_DIGITS else 0
        self._period: int | None = None
        self._newest = 0
        self._total = 0
        self._now_ns: int | None = None
        self._mapper = TimestampMapper()
        self._judge = _Judge()

    @property
    def has_unit(self) -> bool:
        """Whether it is known what is counted."""
        return self._unit_ns > 0

    @property
    def text(self) -> str:
        """How many digits, of what, and where they start again, as far as that is known."""
        digits = "four digits" if self._digits == _SHORT_DIGITS else "eight digits"
        if not self._judge.trusts:
            return f"{digits} that count no time"
        unit = {_MS_NS: ", ms", _US_NS: ", us", 0: ""}[self._unit_ns]
        return digits + unit + (f", from 0 again after {self._period - 1}" if self._period else "")

    def times(self, number: Numbers, now_ns: int) -> Numbers | None:
        """Wall clock nanoseconds; None where these numbers count no time, or nobody knows yet what."""
        if self._digits == _LONG_DIGITS and not self._judge.is_sure:
            self._find_unit(number, now_ns)
        if not self._unit_ns:
            self._newest, self._now_ns = int(number[-1]), now_ns
            return None
        before_ns = self._total * self._unit_ns
        total_ns = self._unwrapped(number, now_ns) * self._unit_ns
        was_trusted = self._judge.trusts
        if not self._judge.look(int(total_ns[-1]), now_ns):
            return None
        if not was_trusted:
            self._mapper = TimestampMapper()
        return self._mapped(total_ns, before_ns, now_ns)

    def _mapped(self, total_ns: Numbers, before_ns: int, now_ns: int) -> Numbers:
        # Late frames have stamps in order all the same: an adapter that goes back has restarted.
        steps = np.diff(total_ns, prepend=before_ns)
        pieces: list[Numbers] = []
        for piece in np.split(total_ns, np.flatnonzero(steps < -_GOES_BACK_NS)):
            if pieces:
                self._mapper = TimestampMapper()
            # A resonator may be slower than a quartz by half a percent.
            self._mapper.creep = CREEP + _CATCH_UP * self._judge.slowness
            pieces.append(np.minimum(self._mapper.map(piece, now_ns), now_ns) if len(piece) else piece)
        return np.concatenate(pieces)

    def _find_unit(self, number: Numbers, now_ns: int) -> None:
        begin, since_ns = (int(number[0]), None) if self._now_ns is None else (self._newest, self._now_ns)
        count = (int(number[-1]) - begin) % (1 << 32)
        if since_ns is None:
            if len(number) < 2:
                return
            unit_ns = _MS_NS if count <= _ONE_READ_MS else _US_NS
        elif now_ns - since_ns < _MS_NS:
            return
        else:
            unit_ns = _MS_NS if count * _BETWEEN_UNITS * _US_NS < now_ns - since_ns else _US_NS
        if unit_ns != self._unit_ns:
            self._unit_ns, self._period, self._judge, self._mapper = (
                unit_ns,
                None,
                _Judge(),
                TimestampMapper(),
            )
            if since_ns is not None:  # what was said before knew the time already
                self._total = begin
                before_ns = np.array([begin * unit_ns], np.int64)
                self._mapper.map(before_ns, since_ns)
                self._judge.look(int(before_ns[0]), since_ns)

    def _unwrapped(self, number: Numbers, now_ns: int) -> Numbers:
        """int64[N] counts that do not start again."""
        if self._now_ns is None:
            self._newest, self._now_ns = int(number[-1]), now_ns
            self._settle(number, 0)
            self._total = self._newest
        else:
            expected = (now_ns - self._now_ns) // self._unit_ns
            self._settle(number, expected)
            step = int(number[-1]) - self._newest - expected
            self._total += expected + int(_centred(step, self._likely))
            self._newest, self._now_ns = int(number[-1]), now_ns
        steps = _centred(np.diff(number), self._likely)
        before: Numbers = np.concatenate((np.zeros(1, np.int64), np.cumsum(steps)))
        total: Numbers = self._total - before[-1] + before
        return total

    @property
    def _likely(self) -> int:
        return self._period or self._periods[0]

    @property
    def _periods(self) -> tuple[int, ...]:
        return _PERIODS[self._digits, self._unit_ns]

    def _settle(self, number: Numbers, expected: int) -> None:
        """Finds where the numbers start again: from one that is too large, or from how long it took."""
        if self._period is not None:
            return
        short, *longer = self._periods
        if not longer or int(number.max()) >= short:
            self._period = (short, *longer)[-1]
        else:
            step = int(number[-1]) - self._newest - expected
            turns = {period: abs(_centred(step, period)) for period in self._periods}
            best = min(turns, key=lambda period: turns[period])
            # Without a new start in between they agree; an adapter that has restarted fits none.
            apart = (longer[0] - short) // 4
            if turns[best] < apart and max(turns.values()) - turns[best] > apart:
                self._period = best


class _Judge:
    """Whether a counter keeps time: it may be late, but neither stand still nor run at a speed of its own.

    `slowness`: by which share it is slower than the reader's clock.
    """

    def __init__(self) -> None:
        self.trusts = True
        self.is_sure = False
        self.slowness = 0.0
        self._anchor: tuple[int, int] | None = None
        self._window_ns = 0
        self._best_ns: int | None = None
        self._strikes = self._good = 0
        self._needed = _GOOD_WINDOWS

    def look(self, count_ns: int, now_ns: int) -> bool:
        """Whether it is trusted, after it has said this at this time of the wall clock."""
        if self._anchor is None:
            self._anchor, self._window_ns = (count_ns, now_ns), now_ns
            return self.trusts
        ahead_ns = (count_ns - self._anchor[0]) - (now_ns - self._anchor[1])
        # The quickest of a window: others have waited somewhere.
        self._best_ns = ahead_ns if self._best_ns is None else max(self._best_ns, ahead_ns)
        if abs(now_ns - self._window_ns) >= _WINDOW_NS:
            since_ns = abs(now_ns - self._anchor[1])
            self._take(abs(self._best_ns) <= _LATE_NS + _DRIFT * since_ns)
            is_slow = self._good and self._best_ns < -_BLUR_NS
            self.slowness = min(-self._best_ns / max(since_ns, 1), _DRIFT) if is_slow else 0.0
            if not self._good:
                self._anchor = (count_ns, now_ns)
            self._window_ns, self._best_ns = now_ns, None
        return self.trusts

    def _take(self, is_good: bool) -> None:
        self._good = self._good + 1 if is_good else 0
        self._strikes = 0 if self._good >= _FORGIVEN_WINDOWS else self._strikes + (not is_good)
        if self._strikes >= _MAX_STRIKES and self.trusts:
            # Each time it takes longer to believe it again, so that nothing flaps.
            self.trusts, self._strikes, self._needed = False, 0, min(2 * self._needed, _MAX_WINDOWS)
        if self._good >= self._needed:
            self.trusts = self.is_sure = True


def _centred(step: _Step, period: int) -> _Step:
    """The step without whole turns: at most half a turn, back or forth."""
    return (step + period // 2) % period - period // 2
