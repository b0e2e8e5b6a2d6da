"""The databases that a configuration names: every file that can be loaded, and what there is to say."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from can_stream.databases import MAX_DATABASES
from can_stream.databases.bundled import bundled_hint
from can_stream.databases.findings import Severity
from can_stream.databases.isolated import load_isolated
from can_stream.databases.options import DatabaseOptions
from can_stream.errors import DatabaseError
from can_stream.signals.table import SignalTable


class ConfiguredDatabases(Struct, frozen=True):
    """`table` of `files`, None where no file could be loaded; `problems`: what was left out, and why.

    `warnings`: how many findings `edge-agent dbc lint` has on the files.
    """

    table: SignalTable | None
    files: tuple[Path, ...]
    problems: tuple[str, ...]
    warnings: int = 0

    @property
    def message(self) -> str:
        """What was loaded, in one sentence; the remedy where something was not."""
        loaded = "nothing is decoded"
        if self.table is not None:
            messages, signals = len(self.table.messages), len(self.table.signals)
            loaded = f"{messages} messages, {signals} signals from {len(self.files)} database files"
        notes = [*self.problems[:3]]
        if len(self.problems) > len(notes):
            notes.append(f"{len(self.problems) - len(notes)} more files cannot be used")
        if self.warnings:
            notes.append(f"{self.warnings} findings, see `edge-agent dbc lint`")
        return "; ".join([loaded, *notes])


def load_configured(patterns: Sequence[str], options: Sequence[DatabaseOptions] = ()) -> ConfiguredDatabases:
    """Loads the files that match, in order. One that cannot be loaded does not keep the others out."""
    paths, problems = _expanded(patterns)
    problems += [
        f"database_options are given for {one.match}, which none of these databases is called"
        for one in options
        if paths and not any(one.fits(path) for path in paths)
    ]
    while paths:
        try:
            loaded = load_isolated(paths, options)
        except DatabaseError as error:
            problems.append(str(error))
            paths = [path for path in paths if path != error.path]
            continue
        warnings = sum(finding.severity is not Severity.INFO for finding in loaded.report)
        return ConfiguredDatabases(loaded.table, tuple(paths), tuple(problems), warnings)
    return ConfiguredDatabases(None, (), tuple(problems))


def _expanded(patterns: Sequence[str]) -> tuple[list[Path], list[str]]:
    paths: dict[Path, None] = {}
    problems = []
    for pattern in patterns:
        found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - the pattern may be absolute
        if not found:
            problems.append(f"no file matches {pattern}{bundled_hint(pattern)}")
        paths.update(dict.fromkeys(map(Path, found)))
    chosen = list(paths)
    if len(chosen) > MAX_DATABASES:
        problems.append(f"only the first {MAX_DATABASES} of {len(chosen)} database files are used")
    return chosen[:MAX_DATABASES], problems
