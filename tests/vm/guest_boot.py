"""Tests of tests/vm/guest run in one boot of the guest, and what came of each, by its name."""

from __future__ import annotations

import ast
import io
import os
import shlex
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from tests.helpers.lanes import VARIABLE
from tests.vm.boot import ROOT, guest_directory, run_in_guest

GUEST_TESTS: Final = Path(__file__).with_name("guest")
TIMEOUT_SECONDS: Final = 1200.0
# A guest has one processor, and two run side by side: what is about services takes as long as all else.
ABOUT_SERVICES: Final = frozenset({"test_helper", "test_service", "test_set_up_can", "test_the_pages"})
_FORWARDED: Final = ("CI", "HYPOTHESIS_PROFILE", VARIABLE)
_SHOWN_CHARACTERS: Final = 4_000
# pytest-timeout inside ends a test that hangs, with its stack; the guest's own end is for all else.
_PYTEST: Final = "pytest -q -p no:cacheprovider --junitxml=/exchange/junit.xml -o junit_logging=all"

Outcomes = dict[str, list[ET.Element]]


def guest_tests(*, about_services: bool) -> list[str]:
    """MODULE::FUNCTION of every test in there, of one kind, without running anything."""
    return [
        f"{path.relative_to(ROOT)}::{node.name}"
        for path in sorted(GUEST_TESTS.glob("test_*.py"))
        if (path.stem in ABOUT_SERVICES) == about_services
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]


def run_guest_tests(items: Iterable[pytest.Item]) -> Outcomes:
    """Boots the guest and runs there what these items, one for each `name`, stand for."""
    names = [str(item.callspec.params["name"]) for item in items if isinstance(item, pytest.Function)]
    environment = [f"{name}={os.environ[name]}" for name in _FORWARDED if name in os.environ]
    command = shlex.join(["env", *environment, *shlex.split(_PYTEST), *names])
    output = io.StringIO()
    with guest_directory() as directory:
        run = run_in_guest(directory, command, output, timeout_seconds=TIMEOUT_SECONDS)
        report = directory / "exchange" / "junit.xml"
        if report.exists():
            return _outcomes_of(report)
    problem = run.problem or f"pytest ended with status {run.status}"
    end = output.getvalue()[-_SHOWN_CHARACTERS:]
    pytest.fail(f"no report from the guest: {problem}\n{end}", pytrace=False)


def check(outcomes: Outcomes, name: str) -> None:
    """Fails or skips as the test did there, in any of its cases."""
    assert outcomes[name], "the guest did not run it"
    for case in outcomes[name]:
        if any(part.tag in {"failure", "error"} for part in case):
            texts = [part.text or "" for part in case]
            pytest.fail("\n".join([f"{case.get('name')} in the guest", *texts]), pytrace=False)
    skipped = [part.get("message") for case in outcomes[name] for part in case.iterfind("skipped")]
    if len(skipped) == len(outcomes[name]):
        pytest.skip(f"in the guest: {skipped[0]}")


def _outcomes_of(report: Path) -> Outcomes:
    """By MODULE::FUNCTION, an element for each of its parameters."""
    found: Outcomes = defaultdict(list)
    for case in ET.parse(report).iter("testcase"):
        module = case.get("classname", "").replace(".", "/")
        found[f"{module}.py::{case.get('name', '').partition('[')[0]}"].append(case)
    return found
