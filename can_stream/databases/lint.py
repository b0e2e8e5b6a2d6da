"""What loads, what does not and why: the findings behind `edge-agent dbc lint`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from can_stream.databases.checks import Placed, check_together
from can_stream.databases.findings import Finding, Findings
from can_stream.databases.loading import load_messages
from can_stream.databases.options import DatabaseOptions
from can_stream.errors import DatabaseError


def lint(paths: Sequence[Path], options: Sequence[DatabaseOptions] = ()) -> list[Finding]:
    """Every finding on each file and on all of them together on one bus; no file raises."""
    found: list[Finding] = []
    files: list[list[Placed]] = []
    for path in paths:
        findings = Findings(path)
        try:
            files.append(load_messages(path, findings, options))
        except DatabaseError as error:
            findings.error(error.line, "not_loaded", f"nothing of it can be loaded: {error.reason}")
        found += sorted(findings.found, key=lambda finding: finding.line)
    return found + check_together(files)
