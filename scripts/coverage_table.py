"""Shows module by module how many of our branches the measured lanes take, and judges the list of exceptions.

    scripts/coverage_table.py            exit status 1 where tests/coverage.toml and the table disagree
    scripts/coverage_table.py --update   lists what is missing, its reason left empty, and drops what is stale

It reads what `scripts/lanes.py unit property coverage` measured.
"""

from __future__ import annotations

import json
import sys
import textwrap
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from coverage import Coverage

ROOT: Final = Path(__file__).resolve().parent.parent
REPORTS: Final = ROOT / ".lanes"
MEASURED: Final = ("unit", "property")
LIST: Final = ROOT / "tests" / "coverage.toml"
LEAST_PERCENT: Final = 90
# Which process a test runs in, and what was imported there before, moves a module by some per cent: only
# what is well below the line fails for want of a reason.
FAILING_PERCENT: Final = 85
STALE_PERCENT: Final = 95
HEADER: Final = f"""\
# Modules with less than {LEAST_PERCENT} % of their branches taken by {", ".join(MEASURED)}: why,
# and what runs them instead. `scripts/coverage_table.py --update` lists what is missing.
"""


class Share(NamedTuple):
    """How much of a module was run: of its branches, or of its lines where it has none."""

    taken: int
    all: int

    @property
    def percent(self) -> int:
        """Rounded down, so that 90 is not below 90; 100 where there is nothing to run."""
        return 100 * self.taken // self.all if self.all else 100


class Exceptions(NamedTuple):
    """Modules that share a reason to be below the line."""

    reason: str
    modules: list[str]


def main(arguments: list[str]) -> int:
    """Exit status 0 when every module is above the line or listed, with a reason."""
    data = {lane: sorted(map(str, (REPORTS / lane).glob("coverage.*"))) for lane in MEASURED}
    if not all(data.values()):
        print(f"nothing is measured: run scripts/lanes.py {' '.join(MEASURED)} coverage")
        return 2
    report = measured([path for paths in data.values() for path in paths])
    shares = {path: share_of(module["summary"]) for path, module in sorted(report["files"].items())}
    listed = read_list(LIST.read_text())
    print("\n".join(table(shares, {module for group in listed for module in group.modules})))
    total = share_of(report["totals"])
    print(f"in all {total.percent} % of {total.all} branches; * below {LEAST_PERCENT} %, ? and not listed")
    if arguments == ["--update"]:
        LIST.write_text(list_text(updated(shares, listed)))
        return 0
    for path in stale(shares, listed):
        print(f"{path}: {shares[path].percent} % of its branches, can go from {LIST.name}")
    wrong = list(disagreements(shares, listed))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


def measured(data: list[str]) -> dict[str, Any]:
    """The report of coverage.py over these files of data, left in .lanes as branches.json and coverage."""
    (REPORTS / "coverage").unlink(missing_ok=True)
    report = REPORTS / "branches.json"
    coverage = Coverage(data_file=str(REPORTS / "coverage"), config_file=str(ROOT / "pyproject.toml"))
    coverage.combine(data, keep=True)
    coverage.save()
    coverage.json_report(outfile=str(report))
    return dict(json.loads(report.read_text()))


def share_of(summary: Mapping[str, int]) -> Share:
    """Of a module's part in the report."""
    if summary["num_branches"]:
        return Share(summary["covered_branches"], summary["num_branches"])
    return Share(summary["covered_lines"], summary["num_statements"])


def table(shares: Mapping[str, Share], listed: set[str]) -> Iterator[str]:
    """Per cent of every module, a room in a line or some; `*` below the line, `?` below and not listed."""
    rooms: dict[PurePosixPath, list[str]] = defaultdict(list)
    for path, share in shares.items():
        mark = "" if share.percent >= LEAST_PERCENT else "*" if path in listed else "?"
        module = PurePosixPath(path)
        # The space is none to break a line at.
        rooms[module.parent].append(f"{module.stem}\N{NO-BREAK SPACE}{share.percent}{mark}")
    for room, modules in rooms.items():
        for line in textwrap.wrap(f"{room}: {', '.join(modules)}", 110, subsequent_indent="    "):
            yield line.replace("\N{NO-BREAK SPACE}", " ")


def disagreements(shares: Mapping[str, Share], listed: list[Exceptions]) -> Iterator[str]:
    """What must be mended in the list, or by a test."""
    for path in missing(shares, listed):
        if shares[path].percent < FAILING_PERCENT:
            yield f"{path}: {shares[path].percent} % of its branches, and not in {LIST.name}"
    for module in (module for group in listed for module in group.modules):
        if module not in shares:
            yield f"{module}: in {LIST.name}, and no module of ours"
    for group in listed:
        if not group.reason:
            yield f"{', '.join(group.modules)}: in {LIST.name} without a reason"


def stale(shares: Mapping[str, Share], listed: list[Exceptions]) -> list[str]:
    """Listed modules that need no reason any more."""
    every = (module for group in listed for module in group.modules)
    return [path for path in every if path in shares and shares[path].percent >= STALE_PERCENT]


def missing(shares: Mapping[str, Share], listed: list[Exceptions]) -> list[str]:
    """Modules below the line that are not listed."""
    known = {module for group in listed for module in group.modules}
    return [path for path, share in shares.items() if share.percent < LEAST_PERCENT and path not in known]


def updated(shares: Mapping[str, Share], listed: list[Exceptions]) -> list[Exceptions]:
    """The list as it should be, but for the reasons that a person must write."""
    kept = [
        Exceptions(
            group.reason,
            [one for one in group.modules if one in shares and shares[one].percent < STALE_PERCENT],
        )
        for group in listed
    ]
    new = Exceptions("", missing(shares, listed))
    return [group for group in (*kept, new) if group.modules]


def read_list(text: str) -> list[Exceptions]:
    """Of the TOML."""
    return [Exceptions(group["reason"], group["modules"]) for group in tomllib.loads(text).get("below", [])]


def list_text(listed: list[Exceptions]) -> str:
    """As TOML: JSON's texts and lists are TOML's too."""
    parts = [HEADER]
    for reason, modules in listed:
        lines = "".join(f"  {json.dumps(module)},\n" for module in sorted(modules))
        parts.append(f"\n[[below]]\nreason = {json.dumps(reason)}\nmodules = [\n{lines}]\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
