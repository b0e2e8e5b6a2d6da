"""The candump parser against python-can's reader, in CPU time of the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.candump_parse import generated_log, measure

KONA = Path(__file__).parents[3] / "shared/data/logs/kona_comp_can_heating.converted.candump.log"


@pytest.mark.speed
def test_ten_times_python_can_on_a_generated_log(tmp_path: Path) -> None:
    result = measure(generated_log(tmp_path / "generated.log"))
    assert result.ratio >= 10, result


@pytest.mark.speed
def test_ten_times_python_can_on_a_recorded_log() -> None:
    if not KONA.exists():
        pytest.skip(f"needs the shared recording {KONA.name}")
    result = measure(KONA)
    assert result.ratio >= 10, result
