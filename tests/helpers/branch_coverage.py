"""A plugin that measures which branches of ours a process of pytest takes: -p tests.helpers.branch_coverage.

Workers of `-n 2` load it like their parent. Each leaves a file beside the one that COVERAGE_FILE names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from coverage import Coverage

_ROOT: Final = Path(__file__).resolve().parents[2]
# Begun while the plugin is imported: before conftests and tests, and so before the first module of ours.
_MEASURED: Final = Coverage(config_file=str(_ROOT / "pyproject.toml"), data_suffix=True)
_MEASURED.start()


def pytest_unconfigure() -> None:
    """Writes what was seen, also when tests failed."""
    _MEASURED.stop()
    _MEASURED.save()
