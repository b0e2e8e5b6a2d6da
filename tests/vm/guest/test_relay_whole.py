"""A group of two buses of the kernel: nothing is sampled on its way, while its console is."""

from __future__ import annotations

from bench.relay import standing, whole

FRAMES_PER_SECOND = 1_500.0


def test_what_is_on_one_bus_is_what_was_on_the_other_while_the_console_is_sampled() -> None:
    with standing("ours", kernel=True) as group:
        rows = whole(group, FRAMES_PER_SECOND, seconds=5.0)
    for row in rows:
        assert row.came == row.sent, row
        assert row.same, row
        # What a stream may show at once comes on top.
        assert 0 < row.shown_by_console < row.sent / 2, row
