"""Each row of the table of interfaces names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "relay.md"
_ROW: Final = re.compile(r"^\| .*\| [^|]*`(?:counters|probe|helper)`[^|]*\| (.+) \|$", re.MULTILINE)
_TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_interface_is_shown_by_tests_that_are_there() -> None:
    rows = [_TEST.findall(cell) for cell in _ROW.findall(PAGE.read_text())]
    assert len(rows) >= 9
    assert all(rows)
    for path, name in {one for row in rows for one in row}:
        names = {node.name for node in ast.parse((ROOT / path).read_text()).body if hasattr(node, "name")}
        assert name in names, f"{path} has no {name}"
