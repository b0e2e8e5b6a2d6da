"""Where agents of tests have their locks, how hypothesis looks for counterexamples, how reports travel.

At a desk every run looks somewhere else. Continuous integration repeats the same examples, so that no commit
is held up by what another one broke. HYPOTHESIS_PROFILE=thorough looks twenty times as long.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

# Imported when this module has run: the environment that processes of tests get is copied there.
pytest_plugins = ["tests.helpers.real_server"]

# Agents of one id exclude each other by a lock: tests that run side by side have directories of their own.
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="edge-agent-")
atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)

# No deadline per example: a loaded machine is no finding.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "desk"))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Workers send reports in UTF-8, which has no lone surrogates; what a test logs may hold them."""
    return _in_utf8((yield))


def _in_utf8(report: Any) -> Any:
    if isinstance(report, str):
        return report.encode(errors="backslashreplace").decode()
    if isinstance(report, dict):
        return {key: _in_utf8(value) for key, value in report.items()}
    if isinstance(report, list | tuple):
        return type(report)(_in_utf8(value) for value in report)
    return report
