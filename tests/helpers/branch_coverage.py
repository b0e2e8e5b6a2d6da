"""A plugin that measures which branches of ours a process of pytest takes: -p tests.helpers.branch_coverage.

Workers of `-n 2` load it like their parent. Each leaves a file beside the one that COVERAGE_FILE names.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
from coverage import Coverage

_ROOT: Final = Path(__file__).resolve().parents[2]
# Begun while the plugin is imported: before conftests and tests, and so before the first module of ours.
_MEASURED: Final = Coverage(config_file=str(_ROOT / "pyproject.toml"), data_suffix=True)
_MEASURED.start()
# They read the code and run none of it, and take five times as long where every call is looked at.
_READING: Final = frozenset({"test_architecture.py", "test_foreign_text.py", "test_reach.py"})
# Machines that take the branches of the unit tests once more, thousands of times, each at half the speed.
_REPEATING: Final = frozenset(
    {
        "test_holdings.py",
        "test_lane_sessions.py",
        "test_relay_direction.py",
        "test_relay_hostile.py",
        "test_relay_sink.py",
        "test_spooled_window.py",
    }
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Looks away while the house is read, or the same is done over and over."""
    if item.path.name not in _READING | _REPEATING:
        return (yield)
    _MEASURED.stop()
    try:
        return (yield)
    finally:
        _MEASURED.start()


def pytest_unconfigure() -> None:
    """Writes what was seen, also when tests failed."""
    _MEASURED.stop()
    _MEASURED.save()
