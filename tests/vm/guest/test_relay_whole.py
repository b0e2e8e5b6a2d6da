"""A group of two buses of the kernel: nothing is sampled on its way, while its console is."""

from __future__ import annotations

from bench.relay import whole
from bench.relay_nodes import two_buses

FRAMES_PER_SECOND = 1_500.0


def test_what_is_on_one_bus_is_what_was_on_the_other_while_the_console_is_sampled() -> None:
    for row in whole(two_buses(kernel=True), seconds=5.0, rate=FRAMES_PER_SECOND):
        assert row.came == row.sent, row
        assert row.same, row
        # What a stream may show at once comes on top.
        assert 0 < row.shown_by_console < row.sent / 2, row
