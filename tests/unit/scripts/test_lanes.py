"""The lanes: their table, how a lane's time is judged, and what is said at the end."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from scripts.coverage_table import MEASURED
from scripts.lanes import LANES, Lane, Outcome, budget_table, main, run, slowest_tests
from tests.helpers import lanes as rule

ROOT: Final = Path(__file__).resolve().parents[3]
DOCS: Final = ROOT / "docs" / "development.md"
# Continuous integration has an hour, and installs what the lanes need before them.
MOST_SECONDS: Final = 55 * 60
REPORT: Final = """\
<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_quick" time="0.001"/>
<testcase classname="tests.unit.test_a" name="test_slow[x-1]" time="12.345"/>
</testsuite></testsuites>
"""


def lane_of(code: str, budget_seconds: int) -> Lane:
    return Lane(budget_seconds, ([sys.executable, "-c", code],))


def run_one(lane: Lane, directory: Path, *, required: bool) -> Outcome:
    return run("one", lane, directory / "one", os.environ, required)


def test_the_documented_table_is_that_of_the_lanes() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) s \|", DOCS.read_text(), re.MULTILINE)
    assert rows == [(name, str(lane.budget_seconds)) for name, lane in LANES.items()]


def test_all_budgets_leave_time_to_install() -> None:
    assert sum(lane.budget_seconds for lane in LANES.values()) <= MOST_SECONDS


def test_every_lane_can_be_required() -> None:
    assert set(rule.LANES) == set(LANES)


@pytest.mark.parametrize("names", ["bogus", "lint, bogus", "all,bogus"])
def test_what_cannot_be_required_is_refused_before_anything_runs(
    names: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(rule.VARIABLE, names)
    assert main(["lint"]) == 2
    assert "bogus" in capsys.readouterr().out
    with pytest.raises(pytest.UsageError, match="bogus"):
        rule.required_lanes()


@pytest.mark.parametrize(("names", "says"), [("bogus", "bogus is none of"), ("", "deselected")])
def test_pytest_refuses_it_too_and_never_asks_for_recorded_drives(
    names: str, says: str, tmp_path: Path
) -> None:
    """In a tree that has nothing beside it."""
    shutil.copytree(ROOT / "tests", tmp_path / "tree" / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "tree")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-p",
        "no:cacheprovider",
        "tests/integration/test_shared_logs.py",
    ]
    environment = os.environ | {rule.VARIABLE: names}
    done = subprocess.run(
        command, check=False, cwd=tmp_path / "tree", env=environment, capture_output=True, text=True
    )
    said = done.stdout + done.stderr
    assert says in said
    assert "SKIPPED" not in said
    assert done.returncode == (pytest.ExitCode.USAGE_ERROR if names else pytest.ExitCode.NO_TESTS_COLLECTED)


def test_the_table_of_branches_is_of_the_measured_lanes() -> None:
    assert tuple(name for name, lane in LANES.items() if lane.measured) == MEASURED
    assert list(LANES).index("coverage") > max(map(list(LANES).index, MEASURED))


@pytest.mark.parametrize(("required", "failed"), [(False, False), (True, True)])
def test_a_lane_far_over_its_budget_fails_only_where_it_is_required(
    tmp_path: Path, required: bool, failed: bool
) -> None:
    outcome = run_one(lane_of("pass", 0), tmp_path, required=required)
    assert outcome.failed is failed
    assert "FAILED" in outcome.says() if failed else "OVER ITS BUDGET" in outcome.says()


def test_a_command_that_fails_fails_its_lane_and_those_after_it_run(tmp_path: Path) -> None:
    (fails,) = lane_of("raise SystemExit(1)", 60).commands
    left = tmp_path / "left"
    (leaves,) = lane_of(f"open({str(left)!r}, 'w')", 60).commands
    assert run_one(Lane(60, (fails, leaves)), tmp_path, required=False).failed
    assert left.exists()


def test_a_lane_of_which_nothing_can_run_here_passes(tmp_path: Path) -> None:
    assert not run_one(lane_of("raise SystemExit(5)", 60), tmp_path, required=False).failed


def test_a_lane_leaves_the_times_of_its_tests_and_nothing_of_its_last_run(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "7.xml").write_text(REPORT)
    (tmp_path / "test_it.py").write_text("def test_it() -> None: ...\n")
    assert not run_one(Lane(60, tests=(str(tmp_path / "test_it.py"),)), tmp_path, required=True).failed
    (line,) = slowest_tests((tmp_path / "one").glob("*.xml"))
    assert line.endswith("test_it.py::test_it")


def test_the_slowest_tests_come_first_by_the_names_that_pytest_takes(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.xml").write_text(REPORT)
    lines = slowest_tests(tmp_path.glob("*.xml"))
    assert lines == ["   12.3 s  tests/unit/test_a.py::test_slow[x-1]"] * 10


def test_budgets_are_shown_lane_by_lane_and_in_all() -> None:
    assert budget_table([Outcome("unit", 100.4, 200, False), Outcome("vm", 130.0, 100, False)]) == [
        "unit          100 s of  200 s",
        "vm            130 s of  100 s  OVER ITS BUDGET",
        "in all        230 s of  300 s",
    ]
