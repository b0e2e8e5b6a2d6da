"""Runs the lanes of the test suite one after another and says which were skipped, and why.

    scripts/lanes.py              all lanes
    scripts/lanes.py unit types   only these

REQUIRE_LANES (names separated by commas, or `all`) makes a lane fail where something of it is skipped for
want of a tool.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PYTEST = [str(BIN / "pytest"), "-q", "-rs", "-p", "no:cacheprovider"]
# These lanes mostly wait, for processes and timeouts.
TWO_AT_A_TIME = ["-n", "2"]

LANES: dict[str, list[list[str]]] = {
    "lint": [[str(BIN / "ruff"), "check", "."], [str(BIN / "ruff"), "format", "--check", "."]],
    "types": [[str(BIN / "mypy")]],
    "unit": [[*PYTEST, "tests/unit"]],
    "property": [[*PYTEST, "tests/property"]],
    "integration": [
        [*PYTEST, *TWO_AT_A_TIME, "-m", "not speed", "tests/integration"],
        [*PYTEST, "-m", "speed", "tests/integration"],
    ],
    "vm": [[*PYTEST, "tests/vm"]],
    "browser": [[*PYTEST, *TWO_AT_A_TIME, "tests/browser"]],
}


def main(wanted: list[str]) -> int:
    """Exit status 0 when no lane failed."""
    unknown = set(wanted) - set(LANES)
    if unknown:
        print(f"no such lane: {', '.join(sorted(unknown))}; there are {', '.join(LANES)}")
        return 2
    required = os.environ.get("REQUIRE_LANES", "")
    environment = os.environ | {"REQUIRE_LANES": ",".join(LANES) if required == "all" else required}
    failed = []
    for lane in wanted or LANES:
        began = time.monotonic()
        print(f"\n== {lane}", flush=True)
        statuses = [
            subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode
            for command in LANES[lane]
        ]
        # Exit status 5 of pytest: nothing was collected, because every module of the lane was skipped.
        if any(status not in (0, 5) for status in statuses):
            failed.append(lane)
        print(
            f"== {lane}: {'FAILED' if lane in failed else 'done'} in {time.monotonic() - began:.0f} s",
            flush=True,
        )
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
        return 1
    print("\nAll lanes passed. What is named SKIPPED above says what it needs; see docs/development.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
