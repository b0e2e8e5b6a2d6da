"""The BLF reader against python-can's, in CPU time of the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.log_parse import blf_log, measure
from tests.helpers.ratios import assert_ratio


@pytest.mark.speed
def test_many_times_python_can_on_a_blf_log(tmp_path: Path) -> None:
    log = blf_log(tmp_path / "generated.blf")
    assert_ratio(lambda: measure(log), 7)
