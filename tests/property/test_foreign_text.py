"""Whatever text comes from outside: what is shown of it is obeyed by no terminal, log or spreadsheet."""

from __future__ import annotations

import csv
import io
import logging
import sys
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from can_stream.service_manager import ShownFormatter
from can_stream.text.foreign import csv_cell, shown, shown_lines

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
EVIL = "\x1b]0;title\x07\r\nWARNING it: forged \u202egnorw\x9b2J"


def is_obeyed(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Zl", "Zp", "Cs"} or (
        unicodedata.bidirectional(character)
        in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    )


@given(text=ANY_TEXT)
@example(text=EVIL)
def test_nothing_shown_is_obeyed(text: str) -> None:
    assert not any(map(is_obeyed, shown(text)))
    assert shown(shown(text)) == shown(text)
    shown(text).encode()


@given(text=st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=60))
@example(text="°C, µA/√Hz, 80\xa0km/h 漢字\u3000🚗")
def test_honest_text_is_shown_as_it_is(text: str) -> None:
    assert shown(text) == shown_lines(text) == text
    assert shown(text, 3) == text[:3]


@given(cells=st.lists(ANY_TEXT, min_size=1, max_size=4))
@example(cells=["=cmd|' /C calc'!A0", "@SUM(1)", "+1+cmd", "-2+3", "\t=1", EVIL, 'a "b", c'])
def test_a_cell_is_one_cell_and_no_formula(cells: list[str]) -> None:
    line = ",".join(map(csv_cell, cells))
    (row,) = csv.reader(io.StringIO(line + "\n"), strict=True) if line else [[""]]
    assert len(row) == len(cells)
    for cell, text in zip(row, cells, strict=True):
        assert not any(map(is_obeyed, cell))
        assert cell.removeprefix("'") == shown(text).removeprefix("'")
        if len(cell) > 1 and cell[0] in "=+-@":
            float(cell)


def test_honest_cells_stay_what_they_are() -> None:
    assert [csv_cell(one) for one in ("-", "-40", "+1.5e3", "-Infinity", "km/h", "a=b", "°C")] == [
        "-", "-40", "+1.5e3", "-Infinity", "km/h", "a=b", "°C",
    ]  # fmt: skip


@given(text=ANY_TEXT)
@example(text=EVIL)
def test_a_record_of_a_log_is_one_line_and_what_is_behind_it_is_none(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        record = logging.LogRecord(
            "it", logging.WARNING, "", 0, "the server says %s", (text,), sys.exc_info()
        )
    first, *behind = ShownFormatter("%(levelname)s %(name)s: %(message)s").format(record).split("\n")
    assert first == f"WARNING it: the server says {shown(text)}"
    assert all(line.startswith("  ") for line in behind)
    assert not any(is_obeyed(character) for line in behind for character in line)
