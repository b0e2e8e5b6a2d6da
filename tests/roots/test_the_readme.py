"""README and docs on a machine where nothing is installed: what they say, in their order, on each Debian.

What needs systemd or a bus of the kernel is run by tests/vm/guest/test_the_pages.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import pytest

from tests.helpers.bare_root import SUITES, BareRoot, Suite, what_is_missing
from tests.helpers.lanes import require_lane
from tests.helpers.pages import PAGES, Terminal, blocks_of

# For a machine that does much else; alone it is three minutes.
pytestmark = pytest.mark.timeout(900)
README: Final = "README.md"
# The reader's own: a car that answers 1,726 revolutions per minute and then 50 km/h to an OBD-II tester.
DRIVE: Final = "".join(
    f"({1736035200 + second}.{part:06}) can0 7E8#{data}\n"
    for second in range(5)
    for part, data in ((250_000, "04410C1AF8000000"), (750_000, "03410D3200000000"))
)


@pytest.fixture(scope="module", params=SUITES)
def bare(request: pytest.FixtureRequest) -> Iterator[BareRoot]:
    suite: Suite = request.param
    missing = what_is_missing(suite)
    require_lane("roots", missing is None, missing or "")
    with BareRoot(suite) as root:
        yield root


def read(bare: BareRoot, page: str, directory: str) -> dict[str, str]:
    """What each block of a page wrote, by its first command."""
    said = {}
    with Terminal(
        bare.command(f"cd {directory} && exec bash -euo pipefail"), {"<this repository>": bare.REPOSITORY}
    ) as terminal:
        for block in blocks_of(page):
            if not block.is_for_the_guest and not block.exception:
                written = terminal.run(block)
                sys.stdout.write(f"--- {page}, line {block.line}\n{written}")
                said[block.commands.split("\n", 1)[0]] = written
    return said


def test_the_readme_leads_from_nothing_to_the_readers_own_log_and_back(bare: BareRoot) -> None:
    bare.put("home/user/drive.log", DRIVE)
    said = read(bare, README, ".")
    decoded = next(text for command, text in said.items() if command.startswith("edge-agent decode"))
    assert decoded.count('"VehicleSpeed":50') == 5
    assert bare.run("cat can-edge-agent/again.log").stdout == DRIVE


def test_what_the_docs_say_works_where_the_readme_was_followed(bare: BareRoot) -> None:
    assert bare.run("command -v stream-server").stdout == "/usr/local/bin/stream-server\n"
    for page in PAGES:
        if page != README:
            read(bare, page, "can-edge-agent")
