"""Where agents of tests have their locks, how hypothesis looks for counterexamples, how reports travel.

At a desk every run looks somewhere else. Continuous integration repeats the same examples, so that no commit
is held up by what another one broke. HYPOTHESIS_PROFILE=thorough looks twenty times as long.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

from tests.helpers.lanes import required_lanes
from tests.helpers.shared_data import SHARED_DATA

# Imported when this module has run: the environment that processes of tests get is copied there.
pytest_plugins = ["tests.helpers.real_server"]

# Agents of one id exclude each other by a lock: tests that run side by side have directories of their own.
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="edge-agent-")
atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)

# Whoever runs the tests in the background has them ignore these, and all processes that they start: programs
# that leave what is ignored ignored, as they should, could not be ended by it.
for number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# No deadline per example: a loaded machine is no finding.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "desk"))


def pytest_configure() -> None:
    """UsageError for a name in REQUIRE_LANES that is no lane, whichever tests run."""
    required_lanes()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Recorded drives are with the makers alone: a skip would ask others for what they cannot get."""
    left_out = [] if SHARED_DATA.exists() else [item for item in items if item.get_closest_marker("recorded")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


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
