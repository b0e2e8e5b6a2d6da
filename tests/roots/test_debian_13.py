"""What depends on the Python that runs it, once more on the one of Debian 13: types, unit tests, memory.

Properties and ratios too: DEBIAN_13_WHOLE=1 (`scripts/soak.py debian-13`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import pytest

from tests.helpers.bare_root import BareRoot, what_is_missing
from tests.helpers.lanes import require_lane

missing = what_is_missing("trixie")
require_lane("roots", missing is None, missing or "")


@pytest.fixture(scope="module")
def debian_13() -> Iterator[BareRoot]:
    with BareRoot("trixie") as bare:
        bare.run("sudo apt-get install -q --no-install-recommends git make python3-venv sqlite3")
        bare.run(f"git clone --quiet {bare.REPOSITORY} can-edge-agent && make -C can-edge-agent dev")
        yield bare


COMMANDS: Final = {
    "types": ("scripts/lanes.py types", "no issues found"),
    "unit": ("scripts/lanes.py unit", " passed"),
    "memory": ("-m pytest -q tests/integration/test_footprint.py", " passed"),
}
SLOW_COMMANDS: Final = {
    "property": ("scripts/lanes.py property", " passed"),
    "ratios": ("-m pytest -q -m speed tests/integration", " passed"),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [*COMMANDS, *(SLOW_COMMANDS if "DEBIAN_13_WHOLE" in os.environ else ())])
def test_it_is_as_on_debian_12(debian_13: BareRoot, name: str) -> None:
    command, says = {**COMMANDS, **SLOW_COMMANDS}[name]
    settings = "HYPOTHESIS_PROFILE=ci REQUIRE_LANES=types,unit,integration"
    done = debian_13.run(
        f"cd can-edge-agent && .venv/bin/python --version && {settings} .venv/bin/python {command}"
    )
    assert "Python 3.13" in done.stdout
    assert says in done.stdout
