"""Which tests may be skipped here: the one rule for every lane.

A lane is a kind of tests that needs something of the machine. Where that is missing its tests are skipped
with a reason that says how to get it, unless the environment variable REQUIRE_LANES (names separated by
commas, or `all`) lists the lane: then what is missing is a failure.
"""

from __future__ import annotations

import os
from typing import Final

import pytest

LANES: Final = ("lint", "types", "unit", "property", "integration", "coverage", "roots", "vm", "browser")
VARIABLE: Final = "REQUIRE_LANES"


def required_lanes() -> frozenset[str]:
    """The lanes that REQUIRE_LANES lists. UsageError for a name that is no lane: it would require nothing."""
    names = {name.strip() for name in os.environ.get(VARIABLE, "").split(",")} - {""}
    if names == {"all"}:
        return frozenset(LANES)
    unknown = sorted(names.difference(LANES))
    if unknown:
        raise pytest.UsageError(f"{VARIABLE}: {', '.join(unknown)} is none of {', '.join(LANES)}")
    return frozenset(names)


def require_lane(lane: str, available: bool, hint: str) -> None:
    """Go on where `available`; else skip the test (or the module that is being imported), or fail it.

    `hint` says what is missing and how to get it.
    """
    assert lane in LANES, lane
    required = lane in required_lanes()
    if available:
        return
    if required:
        pytest.fail(f"{VARIABLE} asks for the lane {lane}, but {hint}", pytrace=False)
    pytest.skip(f"lane {lane}: {hint}", allow_module_level=True)
