"""Runs the lanes of the test suite one after another, says what each used of its budget, and what it skipped.

    scripts/lanes.py              all lanes
    scripts/lanes.py unit types   only these

REQUIRE_LANES (names separated by commas, or `all`) makes a lane fail where something of it is skipped for
want of a tool, and where it takes more than twice its budget.
"""

from __future__ import annotations

import heapq
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

ROOT: Final = Path(__file__).resolve().parent.parent
# What the last run of each lane left: a directory for each.
REPORTS: Final = ROOT / ".lanes"
BIN: Final = Path(sys.executable).parent
PYTEST: Final = [str(BIN / "pytest"), "-q", "-rs", "-p", "no:cacheprovider"]
TWO_AT_A_TIME: Final = ["-n", "2"]
# The tests of a file share a guest or a root.
TWO_FILES_AT_A_TIME: Final = [*TWO_AT_A_TIME, "--dist", "loadfile"]
MEASURING: Final = ["-p", "tests.helpers.branch_coverage"]
SLOWEST: Final = 10
# Exit status 5 of pytest: nothing was collected, because every module of the lane was skipped.
GOOD: Final = frozenset({0, 5})


class Lane(NamedTuple):
    """What is run, one after another, and how long that may take on two cores with nothing beside it.

    `tests` and `speed` are arguments of pytest. The lane `coverage` shows which branches of ours the tests of
    measured lanes take; those of `speed` compare CPU times, and are never measured.
    """

    budget_seconds: int
    commands: tuple[list[str], ...] = ()
    tests: tuple[str, ...] = ()
    speed: tuple[str, ...] = ()
    measured: bool = False


LANES: Final[Mapping[str, Lane]] = {
    "lint": Lane(30, ([str(BIN / "ruff"), "check", "."], [str(BIN / "ruff"), "format", "--check", "."])),
    "types": Lane(80, ([str(BIN / "mypy")],)),
    "unit": Lane(380, tests=(*TWO_AT_A_TIME, "tests/unit"), measured=True),
    "property": Lane(220, tests=(*TWO_AT_A_TIME, "tests/property"), measured=True),
    "integration": Lane(
        1370,
        tests=(*TWO_AT_A_TIME, "-m", "not speed", "tests/integration"),
        speed=("-m", "speed", "tests/integration"),
    ),
    "coverage": Lane(30, ([sys.executable, str(ROOT / "scripts" / "coverage_table.py")],)),
    "roots": Lane(400, tests=(*TWO_FILES_AT_A_TIME, "tests/roots")),
    "vm": Lane(600, tests=(*TWO_FILES_AT_A_TIME, "tests/vm")),
    "browser": Lane(190, tests=(*TWO_AT_A_TIME, "tests/browser")),
}


class Outcome(NamedTuple):
    """How a lane went."""

    name: str
    seconds: float
    budget_seconds: int
    failed: bool

    def says(self) -> str:
        """One line."""
        over = self.seconds > self.budget_seconds
        word = "FAILED" if self.failed else "OVER ITS BUDGET" if over else "done"
        return f"== {self.name}: {word} in {self.seconds:.0f} s of {self.budget_seconds} s"


def main(wanted: list[str]) -> int:
    """Exit status 0 when no lane failed."""
    required = {name.strip() for name in os.environ.get("REQUIRE_LANES", "").split(",")} - {""}
    required = set(LANES) if required == {"all"} else required
    for asked_by, names in (("", wanted), ("REQUIRE_LANES: ", required)):
        if unknown := set(names) - set(LANES):
            print(f"{asked_by}no such lane: {', '.join(sorted(unknown))}; there are {', '.join(LANES)}")
            return 2
    environment = os.environ | {"REQUIRE_LANES": ",".join(sorted(required))}
    lanes = wanted or list(LANES)
    outcomes = []
    for name in lanes:
        print(f"\n== {name}", flush=True)
        lane = LANES[name] if "coverage" in lanes else LANES[name]._replace(measured=False)
        outcomes.append(run(name, lane, REPORTS / name, environment, name in required))
        print(outcomes[-1].says(), flush=True)
    reports = [report for name in lanes for report in (REPORTS / name).glob("*.xml")]
    print("\n== the slowest tests", *slowest_tests(reports), sep="\n")
    print("\n== what the lanes used of their budgets", *budget_table(outcomes), sep="\n")
    if failed := [outcome.name for outcome in outcomes if outcome.failed]:
        print(f"\nfailed: {', '.join(failed)}")
        return 1
    print("\nAll lanes passed. What is named SKIPPED above says what it needs; see docs/development.md.")
    return 0


def run(name: str, lane: Lane, reports: Path, environment: Mapping[str, str], required: bool) -> Outcome:
    """One lane, whose commands all run, whatever came of those before; `reports` holds what they leave."""
    shutil.rmtree(reports, ignore_errors=True)
    environment = {**environment, "COVERAGE_FILE": str(reports / "coverage")}
    began = time.monotonic()
    statuses = {
        subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode
        for command in commands_of(lane, reports)
    }
    seconds = time.monotonic() - began
    # A busy machine is no finding: by its time only a lane fails that must run here, and is far over.
    far_over = required and seconds > 2 * lane.budget_seconds
    return Outcome(name, seconds, lane.budget_seconds, far_over or not statuses <= GOOD)


def commands_of(lane: Lane, reports: Path) -> list[list[str]]:
    """What to run; tests leave what they found in `reports`."""
    commands = list(lane.commands)
    measuring = MEASURING if lane.measured else []
    for name, arguments, plugins in (("tests", lane.tests, measuring), ("speed", lane.speed, [])):
        if arguments:
            commands.append([*PYTEST, *plugins, f"--junitxml={reports / name}.xml", *arguments])
    return commands


def slowest_tests(reports: Iterable[Path]) -> list[str]:
    """The tests that took longest, setting up included, of files of JUnit's kind."""
    cases = [case for report in reports for case in ET.parse(report).iter("testcase")]
    slowest = heapq.nlargest(SLOWEST, ((float(case.attrib["time"]), name_of(case)) for case in cases))
    return [f"{seconds:7.1f} s  {name}" for seconds, name in slowest]


def name_of(case: ET.Element) -> str:
    """As pytest takes it."""
    return f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"


def budget_table(outcomes: Sequence[Outcome]) -> list[str]:
    """What each lane used of its budget, and all of them."""
    seconds = sum(outcome.seconds for outcome in outcomes)
    total = Outcome("in all", seconds, sum(outcome.budget_seconds for outcome in outcomes), failed=False)
    return [
        f"{name:<12}{seconds:5.0f} s of {budget:4} s{'  OVER ITS BUDGET' if seconds > budget else ''}"
        for name, seconds, budget, _ in (*outcomes, total)
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
