"""Every module is called by a test of its own, or tests/not_reached.toml says which lane covers it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.lanes import LANES
from tests.helpers.reach import not_reached, reaches

ROOT: Final = Path(__file__).resolve().parents[2]
LISTED: Final[dict[str, dict[str, str]]] = tomllib.loads((ROOT / "tests/not_reached.toml").read_text())
ENTRIES: Final = [(lane, name, text) for lane, entries in LISTED.items() for name, text in entries.items()]


def test_every_module_is_reached_or_listed_with_what_covers_it() -> None:
    names = [name for _, name, _ in ENTRIES]
    assert not_reached(ROOT) - set(names) == set()
    assert set(names) - not_reached(ROOT) == set(), "these are reached by now, or gone: off the list"
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("lane", "name", "text"), ENTRIES, ids=[name for _, name, _ in ENTRIES])
def test_an_entry_names_a_test_of_its_lane(lane: str, name: str, text: str) -> None:
    assert lane in LANES
    test, _, how = text.partition(": ")
    assert how
    path = f"tests/{lane}/{test}.py"
    assert (ROOT / path).exists()
    if lane in ("unit", "property"):  # other lanes start processes, which import for themselves
        assert reaches(ROOT, path, name)
