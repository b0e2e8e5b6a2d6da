"""The drawings in the docs are those of the tables, and an old one is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.state_machines import PAGES, ROOT, drawing, main, with_drawing

TABLE = (("[*]", "", "idle"), ("idle", "frame read", "on its way"), ("on its way", "ack", "idle"))
DRAWN = """\
```mermaid
stateDiagram-v2
    state "on its way" as on_its_way
    [*] --> idle
    idle --> on_its_way: frame read
    on_its_way --> idle: ack
```"""
PAGE = "By hand.\n\n<!-- state machine: one -->\n<!-- end -->\n\nBy hand too.\n"


def test_the_docs_have_the_drawings_of_the_tables() -> None:
    assert main(ROOT, only_check=True) == 0, "run scripts/state_machines.py"


def test_a_table_is_drawn_and_what_stands_around_stays() -> None:
    assert drawing(TABLE) == DRAWN
    once = with_drawing(PAGE.replace("-->\n<", "-->\nold\n<"), "one", DRAWN)
    assert once == PAGE.replace("-->\n<", f"-->\n{DRAWN}\n<")
    assert with_drawing(once, "one", DRAWN) == once


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="state machine: two"):
        with_drawing(PAGE, "two", DRAWN)
    with pytest.raises(ValueError, match="state machine: one"):
        with_drawing(PAGE.replace("<!-- end -->", "<!-- state machine: two -->\n<!-- end -->"), "one", DRAWN)


def test_an_old_drawing_is_said_by_a_check_and_put_right_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in PAGES:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text((ROOT / path).read_text().replace(" --> ", " --> somewhere_"))
    assert main(tmp_path, only_check=True) == 1
    assert capsys.readouterr().out.splitlines() == [f"{path} is not as its tables" for path in PAGES]
    assert main(tmp_path, only_check=False) == 1
    assert main(tmp_path, only_check=True) == 0
    assert all((tmp_path / path).read_text() == (ROOT / path).read_text() for path in PAGES)
