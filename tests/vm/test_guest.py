"""Every test of tests/vm/guest: run in one boot of the guest, and shown here by its name."""

from __future__ import annotations

import ast
import io
import os
import shlex
from collections import defaultdict
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from tests.helpers.lanes import VARIABLE, require_lane
from tests.vm.boot import ROOT, build_hint, guest_directory, is_built, run_in_guest

require_lane("vm", is_built(), build_hint())

GUEST_TESTS: Final = Path(__file__).with_name("guest")
TIMEOUT_SECONDS: Final = 1200.0
pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS + 60)
_FORWARDED: Final = ("CI", "HYPOTHESIS_PROFILE", VARIABLE)
_SHOWN_CHARACTERS: Final = 4_000
# pytest-timeout inside ends a test that hangs, with its stack; the guest's own end is for all else.
_PYTEST: Final = "pytest -q -p no:cacheprovider --junitxml=/exchange/junit.xml -o junit_logging=all"

Outcomes = dict[str, list[ET.Element]]


def guest_tests() -> list[str]:
    """MODULE::FUNCTION of every test in there, without running anything."""
    return [
        f"{path.relative_to(ROOT)}::{node.name}"
        for path in sorted(GUEST_TESTS.glob("test_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]


def outcomes_of(report: Path) -> Outcomes:
    """By MODULE::FUNCTION, an element for each of its parameters."""
    found: Outcomes = defaultdict(list)
    for case in ET.parse(report).iter("testcase"):
        module = case.get("classname", "").replace(".", "/")
        found[f"{module}.py::{case.get('name', '').partition('[')[0]}"].append(case)
    return found


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Outcomes:
    """What came of the selected tests in the guest."""
    here = [item for item in request.session.items if item.path == Path(__file__)]
    names = [str(item.callspec.params["name"]) for item in here if isinstance(item, pytest.Function)]
    environment = [f"{name}={os.environ[name]}" for name in _FORWARDED if name in os.environ]
    command = shlex.join(["env", *environment, *shlex.split(_PYTEST), *names])
    output = io.StringIO()
    with guest_directory() as directory:
        run = run_in_guest(directory, command, output, timeout_seconds=TIMEOUT_SECONDS)
        report = directory / "exchange" / "junit.xml"
        if report.exists():
            return outcomes_of(report)
    problem = run.problem or f"pytest ended with status {run.status}"
    end = output.getvalue()[-_SHOWN_CHARACTERS:]
    pytest.fail(f"no report from the guest: {problem}\n{end}", pytrace=False)


@pytest.mark.parametrize("name", guest_tests())
def test_in_the_guest(outcomes: Outcomes, name: str) -> None:
    assert outcomes[name], "the guest did not run it"
    for case in outcomes[name]:
        if any(part.tag in {"failure", "error"} for part in case):
            texts = [part.text or "" for part in case]
            pytest.fail("\n".join([f"{case.get('name')} in the guest", *texts]), pytrace=False)
    skipped = [part.get("message") for case in outcomes[name] for part in case.iterfind("skipped")]
    if len(skipped) == len(outcomes[name]):
        pytest.skip(f"in the guest: {skipped[0]}")
