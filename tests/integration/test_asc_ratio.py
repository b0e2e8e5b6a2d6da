"""The parser of Vector ASC against python-can's reader, in CPU time of the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.log_parse import LOGS, measure
from tests.helpers.ratios import assert_ratio


# Of CAN FD most is data, of which both read every byte: docs/performance.md has what each kind reaches.
@pytest.mark.speed
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("classic.asc", 10),
        ("written.asc", 10),
        ("decimal.asc", 6),
        ("mixed.asc", 6),
        ("fd.asc", 5),
        ("written_mixed.asc", 5),
        ("written_fd.asc", 4),
    ],
)
def test_many_times_python_can_on_every_kind_of_log(name: str, least: int, tmp_path: Path) -> None:
    log = LOGS[name](tmp_path / name)
    assert_ratio(lambda: measure(log), least)
