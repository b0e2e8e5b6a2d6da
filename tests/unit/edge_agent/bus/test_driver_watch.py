"""A driver that does not return is said, with what helps."""

from __future__ import annotations

import pytest

from edge_agent.bus.driver_watch import DriverWatch
from edge_agent.state import StatusCode


class SetClock:
    """Seconds that the test sets."""

    seconds = 100.0

    def monotonic_seconds(self) -> float:
        return self.seconds


def test_a_driver_is_late_only_while_it_is_entered_and_beyond_its_time() -> None:
    clock = SetClock()
    watch = DriverWatch("van7-can0", clock.monotonic_seconds)
    assert watch.hang() is None
    with watch.entered(2.5):
        clock.seconds += 2.4
        assert watch.hang() is None
        clock.seconds += 0.1
        hang = watch.hang()
        assert hang is not None
        assert (hang.code, hang.fault) == (StatusCode.FAILED, "dead_driver")
        assert "van7-can0 has not returned for more than 2.5 s: unplug the adapter" in hang.message
    assert watch.hang() is None


def test_a_driver_that_raises_has_returned() -> None:
    clock = SetClock()
    watch = DriverWatch("van7-can0", clock.monotonic_seconds)
    with pytest.raises(OSError, match="gone"), watch.entered(1.0):
        raise OSError("gone")
    clock.seconds += 60
    assert watch.hang() is None
