"""The TRC parser against python-can's reader, in CPU time of the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.log_parse import YARIS, measure, trc_log
from tests.helpers.ratios import assert_ratio


# python-can reads version 2.1 with less work than 1.1, and a short recording is over before its layout pays.
@pytest.mark.speed
@pytest.mark.parametrize(("version", "least"), [("1.1", 7), ("2.1", 5)])
def test_many_times_python_can_on_a_generated_trace(version: str, least: int, tmp_path: Path) -> None:
    trace = trc_log(tmp_path / "generated.trc", version)
    assert_ratio(lambda: measure(trace), least)


@pytest.mark.speed
@pytest.mark.recorded
def test_many_times_python_can_on_a_recorded_trace() -> None:
    assert_ratio(lambda: measure(YARIS), 4)
