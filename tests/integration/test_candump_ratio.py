"""The candump parser against python-can's reader, in CPU time of the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.candump_parse import generated_log, measure
from tests.helpers.ratios import best
from tests.helpers.shared_data import KONA


@pytest.mark.speed
def test_ten_times_python_can_on_a_generated_log(tmp_path: Path) -> None:
    log = generated_log(tmp_path / "generated.log")
    result = best(lambda: measure(log), 10)
    assert result.ratio >= 10, result


@pytest.mark.speed
@pytest.mark.recorded
def test_ten_times_python_can_on_a_recorded_log() -> None:
    result = best(lambda: measure(KONA), 10)
    assert result.ratio >= 10, result
