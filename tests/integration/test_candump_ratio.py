"""The candump parser against python-can's reader, in CPU time of the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.log_parse import candump_log, measure
from tests.helpers.ratios import assert_ratio
from tests.helpers.shared_data import KONA


@pytest.mark.speed
def test_ten_times_python_can_on_a_candump_log(tmp_path: Path) -> None:
    log = candump_log(tmp_path / "generated.log")
    assert_ratio(lambda: measure(log), 10)


@pytest.mark.speed
@pytest.mark.recorded
def test_ten_times_python_can_on_a_recorded_log() -> None:
    assert_ratio(lambda: measure(KONA), 10)
