"""Runs the tests that kill, cut, fill and wait at their full length, one by one, and says how each went.

    scripts/soak.py            all of them: about two hours
    scripts/soak.py outage     only these

The same tests run short in their lanes. Those of a guest need `make vm`; where it is not built they fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PYTEST: Final = [str(Path(sys.executable).parent / "pytest"), "-q", "-rA", "-p", "no:cacheprovider"]


@dataclass(frozen=True, slots=True)
class Soak:
    """`tests` for pytest, at the length that `environment` says."""

    tests: tuple[str, ...]
    environment: Mapping[str, str]


SOAKS: Final[Mapping[str, Soak]] = {
    "outage": Soak(("tests/integration/test_spool.py", "-k", "outage"), {"SPOOL_OUTAGE_FRAMES": "2400000"}),
    "server-kills": Soak(
        ("tests/integration/test_spool.py", "-k", "server_killed"),
        {"SPOOL_OUTAGE_FRAMES": "2400000", "SPOOL_SERVER_KILLS": "20"},
    ),
    "agent-kills": Soak(
        ("tests/integration/test_spool.py", "-k", "agent_killed"), {"SPOOL_AGENT_KILLS": "100"}
    ),
    "exactly-once": Soak(("tests/integration/test_exactly_once.py",), {"EXACTLY_ONCE_KILLS": "200"}),
    "chaos": Soak(("tests/integration/test_chaos.py",), {"CHAOS_SECONDS": "3600"}),
    "footprint": Soak(
        ("tests/integration/test_footprint.py", "-k", "grow"), {"FOOTPRINT_FRAMES": str(3_600 * 8_000)}
    ),
    "damaged-pages": Soak(
        (
            "tests/unit/stream_server/salvage/test_salvage.py",
            "tests/integration/test_damaged_storage.py",
            "-k",
            "damaged_page or changed_costs or whatever_is_damaged or registry",
            "--timeout",
            "3000",
        ),
        {"DAMAGED_PAGES": "200", "DAMAGED_STARTS": "40"},
    ),
    "power-cuts": Soak(("tests/vm/test_power_cut.py",), {"POWER_CUTS": "20"}),
    "debian-13": Soak(("tests/roots/test_debian_13.py",), {"DEBIAN_13_WHOLE": "1"}),
    "lowest-versions": Soak(("tests/integration/test_lowest_versions.py",), {"LOWEST_UNIT_LANE": "1"}),
    "attacks": Soak(("tests/integration/test_under_attack.py",), {"ATTACK_SECONDS": "60"}),
    "damaged-logs": Soak(("tests/property/test_damaged_logs.py",), {"LOG_MUTATIONS": "2300"}),
    "log-memory": Soak(("tests/integration/test_log_memory.py",), {"LOG_MEGABYTES": "64"}),
    "fuzz": Soak(
        ("tests/property/test_fuzz.py", "tests/property/test_relay_fuzz.py", "--timeout", "3000"),
        {"FUZZ_MESSAGES": "430000"},
    ),
    "relay-kills": Soak(
        ("tests/integration/test_relay_kills.py", "--timeout", "3000"), {"RELAY_KILLS": "100"}
    ),
    "relay-stops": Soak(
        ("tests/integration/test_relay_stops.py", "--timeout", "6000"), {"RELAY_STOPS": "1000"}
    ),
    "relay-loops": Soak(("tests/integration/test_relay_loops.py",), {"RELAY_LOOPS": "1"}),
    "hostile-relay": Soak(
        ("tests/property/test_relay_hostile.py", "-k", "nothing_forbidden", "--timeout", "3000"),
        {"RELAY_HOSTILE_MESSAGES": "100000"},
    ),
    "properties": Soak(("tests/property",), {"HYPOTHESIS_PROFILE": "thorough"}),
}


def main(wanted: list[str]) -> int:
    """Exit status 0 when all passed."""
    unknown = set(wanted) - set(SOAKS)
    if unknown:
        print(f"no such soak: {', '.join(sorted(unknown))}; there are {', '.join(SOAKS)}")
        return 2
    failed = []
    for name in wanted or SOAKS:
        soak = SOAKS[name]
        print(
            f"\n== {name}: {' '.join(f'{key}={value}' for key, value in soak.environment.items())}",
            flush=True,
        )
        began = time.monotonic()
        environment = {**os.environ, **soak.environment, "REQUIRE_LANES": "vm"}
        status = subprocess.run([*PYTEST, *soak.tests], check=False, cwd=ROOT, env=environment).returncode
        if status:
            failed.append(name)
        print(
            f"== {name}: {'FAILED' if status else 'passed'} in {time.monotonic() - began:.0f} s", flush=True
        )
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nAll passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
