"""The tests of tests/vm/guest that are not about services: one boot, each shown here by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.lanes import require_lane
from tests.vm.boot import build_hint, is_built
from tests.vm.guest_boot import TIMEOUT_SECONDS, Outcomes, check, guest_tests, run_guest_tests

require_lane("vm", is_built(), build_hint())
pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS + 60)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Outcomes:
    return run_guest_tests(item for item in request.session.items if item.path == Path(__file__))


@pytest.mark.parametrize("name", guest_tests(about_services=False))
def test_in_the_guest(outcomes: Outcomes, name: str) -> None:
    check(outcomes, name)
