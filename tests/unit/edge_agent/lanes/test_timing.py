"""How the time that a frame has until it is on disk is shared out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.sections import SpoolSection
from edge_agent.lanes.timing import patience_seconds, reading_seconds


@given(st.floats(0.05, 60))
def test_what_was_read_late_and_not_acknowledged_can_still_be_written_in_time(flush_seconds: float) -> None:
    section = SpoolSection(flush_seconds=flush_seconds, sync_seconds=3600)
    left_seconds = flush_seconds - reading_seconds(section) - patience_seconds(section)
    assert left_seconds >= flush_seconds * 0.15
    assert 0 < reading_seconds(section) < patience_seconds(section)


def test_by_default_a_server_has_150_ms_for_its_ack() -> None:
    assert patience_seconds(SpoolSection()) == pytest.approx(0.15)
    assert reading_seconds(SpoolSection()) == pytest.approx(0.05)
