"""What pages for contributors name is there: paths, and functions on the ways."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.architecture import PAGE, read_house
from tests.helpers.source_tree import Class, Module, Tree

ROOT: Final = Path(__file__).resolve().parents[2]
PATHS: Final = [
    (page, path)
    for page in (PAGE, "CONTRIBUTING.md")
    for path in sorted(set(re.findall(r"`([\w.][\w./-]*)`", (ROOT / page).read_text())))
    if "/" in path or path.endswith((".py", ".md", ".toml"))
]
STOP: Final = re.compile(r"^\d+\. `([\w.]+)`$", re.MULTILINE)
MAX_STOPS: Final = 12


def ways() -> list[list[str]]:
    section = (ROOT / PAGE).read_text().partition("## The ways\n")[2].partition("\n## ")[0]
    return [stops for part in re.split(r":\n\n", section) if (stops := STOP.findall(part))]


def has_function(tree: Tree, stop: str) -> bool:
    """Whether `module.function` or `module.Class.method` is defined there, not inherited."""
    name, _, function = stop.rpartition(".")
    if name in tree:
        return any(function == found for found, _ in tree[name].source.functions)
    name, _, owner = name.rpartition(".")
    return name in tree and any(function in one.methods for one in _classes(tree[name], owner))


def _classes(module: Module, name: str) -> list[Class]:
    return [one for one in module.source.classes if one.name == name]


@pytest.mark.parametrize(("page", "path"), PATHS)
def test_a_path_that_a_page_names_exists(page: str, path: str) -> None:
    assert (ROOT / path).exists()


def test_four_ways_are_short_and_each_stop_is_a_function_that_is_there() -> None:
    tree = read_house(ROOT).tree
    assert len(ways()) == 4
    for stops in ways():
        assert len(stops) <= MAX_STOPS
        assert len(set(stops)) == len(stops)
        assert [stop for stop in stops if not has_function(tree, stop)] == []
