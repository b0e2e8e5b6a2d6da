"""The parser of Vector ASC against python-can's reader, in CPU time of the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.log_parse import LOGS, measure
from tests.helpers.ratios import assert_ratio


# docs/performance.md has what each kind reaches: half as much again, and more where nothing else runs.
@pytest.mark.speed
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("classic.asc", 12),
        ("written.asc", 14),
        ("decimal.asc", 8),
        ("mixed.asc", 8),
        ("fd.asc", 8),
        ("written_mixed.asc", 9),
        ("written_fd.asc", 8),
    ],
)
def test_many_times_python_can_on_every_kind_of_log(name: str, least: int, tmp_path: Path) -> None:
    log = LOGS[name](tmp_path / name)
    assert_ratio(lambda: measure(log), least)
