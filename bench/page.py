"""What benchmarks print, as Markdown in the blocks of a page (pure). The text around the blocks stays."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

Row = Mapping[str, Any]


def with_block(page: str, name: str, body: str) -> str:
    """`page` with `body` between `<!-- bench: name -->` and `<!-- end -->`.

    A page without such a block gets it in a section at its end. ValueError for a block without an end.
    """
    begin, end = f"<!-- bench: {name} -->", "<!-- end -->"
    block = "\n".join((begin, body.strip("\n"), end))
    if begin not in page:
        return f"{page.rstrip()}\n\n## {name.replace('_', ' ').capitalize()}\n\n{block}\n"
    # Not beyond the next block: what stands between the two was written by hand.
    inside = r"(?:(?!<!-- bench: ).)*?"
    changed, count = re.subn(re.escape(begin) + inside + end, lambda _: block, page, count=1, flags=re.DOTALL)
    if not count:
        raise ValueError(f"no {end} behind {begin}")
    return changed


def report(output: str) -> str:
    """The tables of what a benchmark printed, and what it skipped."""
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    parts = [_table(list(group)) for _, group in groupby((r for r in rows if "skipped" not in r), tuple)]
    parts += [f"Not measured: {row['skipped']}." for row in rows if "skipped" in row]
    return "\n\n".join(parts)


def _table(rows: list[Row]) -> str:
    """A table; a unit that all rows share stands in the headings of what it is the unit of."""
    units = {row.get("unit") for row in rows}
    shared = units.pop() if len(units) == 1 else None
    names = [name for name in rows[0] if name != "unit" or shared is None]
    headings = [
        f"{name}, {shared}" if shared and name in ("ours", "peer") else name.replace("_", " ")
        for name in names
    ]
    lines = [headings, ["---"] * len(names), *([_cell(row[name]) for name in names] for row in rows)]
    return "\n".join(map(_line, lines))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        # Three digits, more where they are all of whole numbers.
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", r"\|")
