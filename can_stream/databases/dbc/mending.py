"""Signals and messages of a DBC of which only limits, unit or node names cannot be read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from can_stream.databases.dbc.statements import Statement
from can_stream.databases.findings import Findings

_NUMBER: Final = r"[-+]?[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?"
_WORD: Final = r"[A-Za-z_][A-Za-z0-9_]*"
# Not what may be the beginning of the next statement, on a line that runs on.
_NODE: Final = r"(?!\w*_(?![A-Za-z0-9]))[^\W\d][\w.$-]*"
_NODES: Final = rf"{_NODE}(?:[ \t]*,[ \t]*{_NODE}|[ \t]+{_NODE})*"
_STRING: Final = r'"(?:\\"|[^"\n])*"'
# All that decides a value; then limits, unit and receivers, each of which may be missing.
_SIGNAL: Final = re.compile(
    rf"(?P<read>[ \t]*SG_\s+{_WORD}(?:\s+(?:M|m[0-9]+M?))?\s*:\s*[0-9]+\s*\|\s*[0-9]+\s*@\s*[01]\s*[-+]\s*"
    rf"\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\))[ \t]*"
    rf'(?P<limits>\[[^\]"\n:;]*\]?)?[ \t]*(?P<unit>{_STRING})?[ \t]*(?P<nodes>{_NODES})?[ \t,]*'
)
_MESSAGE: Final = re.compile(
    rf"(?P<read>[ \t]*BO_\s+[0-9]+\s+{_WORD}\s*:\s*[0-9]+)[ \t]*(?P<nodes>{_NODES})?[ \t,]*"
)
_LIMITS: Final = re.compile(rf"\[\s*{_NUMBER}\s*\|\s*{_NUMBER}\s*\]")
_LISTED: Final = re.compile(rf"{_WORD}(?:\s*,\s*{_WORD})*")
_NOBODY: Final = "Vector__XXX"


def mend_descriptions(statements: Iterable[Statement], findings: Findings) -> None:
    """Such statements with the part left out, each with a finding. What decides a value is never touched."""
    for statement in statements:
        if statement.kind not in ("BO_", "SG_") or statement.is_readable():
            continue
        line, rest = _first_line(statement)
        pattern = _SIGNAL if statement.kind == "SG_" else _MESSAGE
        found = pattern.fullmatch(line)
        if found is None:
            continue
        mended, missing = _mended_signal(found) if statement.kind == "SG_" else _mended_message(found)
        findings.warn(
            statement.line,
            "mended",
            f"{line.strip()!r}: its {' and '.join(missing)} cannot be read; it is decoded without",
        )
        statement.text = mended + rest


def _first_line(statement: Statement) -> tuple[str, str]:
    """The line that has it all, and what comes behind it, which must be empty or a comment."""
    line, end, rest = statement.text.partition("\n")
    plain = statement.stripped()
    return (line, end + rest) if "\n" not in plain else ("", statement.text)


def _mended_signal(found: re.Match[str]) -> tuple[str, list[str]]:
    limits, unit, nodes = found["limits"] or "", found["unit"], found["nodes"] or ""
    missing = []
    if not _LIMITS.fullmatch(limits):
        limits = "[0|0]"
        missing.append("limits")
    if unit is None:
        unit = '""'
        missing.append("unit")
    if not _LISTED.fullmatch(nodes):
        nodes = _NOBODY
        missing.append("receivers")
    return f"{found['read']} {limits} {unit} {nodes}", missing or ["end"]


def _mended_message(found: re.Match[str]) -> tuple[str, list[str]]:
    nodes = found["nodes"] or ""
    is_read = re.fullmatch(_WORD, nodes)
    return f"{found['read']} {nodes if is_read else _NOBODY}", ["sender"]
