"""Draws state machines into the docs, from the tables that the code and its tests go by.

    scripts/state_machines.py            writes the drawings anew
    scripts/state_machines.py --check    only says which are not as their tables

Exit status 1 where one was not.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from edge_agent.uplink.state import TRANSITIONS as UPLINK
from edge_agent.uplink.state import UplinkPhase
from tests.helpers.packet_life import TRANSITIONS as PACKET

ROOT: Final = Path(__file__).resolve().parent.parent
START: Final = "[*]"
Transition = tuple[str, str, str]
"""From, event, to."""

# Of each page its machines, by the names that stand in it.
PAGES: Final[Mapping[str, Mapping[str, Iterable[Transition]]]] = {
    "docs/architecture.md": {"uplink": ((START, "", UplinkPhase.CONNECTING), *UPLINK), "packet": PACKET},
}


def drawing(transitions: Iterable[Transition]) -> str:
    """The machine as a mermaid diagram."""
    known = list(transitions)
    states = dict.fromkeys(state for before, _, after in known for state in (before, after))
    lines = [f'    state "{state}" as {_name(state)}' for state in states if _name(state) != state]
    for before, event, after in known:
        label = f": {event}" if event else ""
        lines.append(f"    {_name(before)} --> {_name(after)}{label}")
    return "\n".join(("```mermaid", "stateDiagram-v2", *lines, "```"))


def with_drawing(page: str, name: str, drawn: str) -> str:
    """The page with this between its markers. ValueError where it has none of this name."""
    begin, end = f"<!-- state machine: {name} -->\n", "\n<!-- end -->"
    # Not beyond the next one: what stands between the two was written by hand.
    inside = r"(?:(?!<!-- state machine: ).)*?"
    changed, count = re.subn(
        re.escape(begin) + inside + end, lambda _: begin + drawn + end, page, count=1, flags=re.DOTALL
    )
    if not count:
        raise ValueError(f"no {begin.strip()} with an {end.strip()}")
    return changed


def main(root: Path, *, only_check: bool) -> int:
    """Exit status 1 where a page was not as its tables."""
    status = 0
    for path, machines in PAGES.items():
        page = changed = (root / path).read_text()
        for name, transitions in machines.items():
            changed = with_drawing(changed, name, drawing(transitions))
        if changed == page:
            continue
        status = 1
        print(f"{path} is not as its tables" if only_check else f"{path} is written anew")
        if not only_check:
            (root / path).write_text(changed)
    return status


def _name(state: str) -> str:
    return state if state == START else re.sub(r"\W", "_", state)


if __name__ == "__main__":
    sys.exit(main(ROOT, only_check="--check" in sys.argv[1:]))
