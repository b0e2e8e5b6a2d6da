"""Which modules of ours the tests of parts import, and so call by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.helpers.architecture import read_house
from tests.helpers.source_tree import Module, Tree, read_tree, resolved

LANES: Final = ("tests/unit", "tests/property")


def not_reached(root: Path) -> set[str]:
    """Modules with something in them that neither lane imports, not through a helper either."""
    house = read_house(root)
    tree = {**house.tree, **read_tree(root, ("tests",))}
    tests = {name for name, one in tree.items() if one.path.startswith(LANES)}
    seen = _walk(tree, tests, through="tests.")
    return {name for name, module in house.tree.items() if name not in seen and not _only_leads_on(module)}


def reaches(root: Path, test: str, name: str) -> bool:
    """Whether the test module imports the module through others, however many."""
    tree = {**read_house(root).tree, **read_tree(root, ("tests",))}
    return name in _walk(tree, {one.name for one in tree.values() if one.path == test}, through="")


def _walk(tree: Tree, start: set[str], through: str) -> set[str]:
    waiting, seen = list(start), set(start)
    while waiting:
        new = _imported(tree, waiting.pop()) - seen
        seen |= new
        waiting.extend(name for name in new if name.startswith(through))
    return seen


def _only_leads_on(module: Module) -> bool:
    source = module.source
    return module.path.endswith("/__init__.py") and not source.functions and not source.classes


def _imported(tree: Tree, name: str) -> set[str]:
    found = (resolved(tree, one) for one in tree[name].source.imports if not one.for_types_only)
    return {target for target in found if target is not None}
