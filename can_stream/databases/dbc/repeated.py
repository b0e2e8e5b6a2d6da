"""What a DBC says of a signal more than once (cantools takes the last), and kinds of number that are none."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from can_stream.databases.dbc.statements import Statement
from can_stream.databases.findings import Findings

_CHOICES: Final = re.compile(r'[-+]?\d+\s+"(?:\\"|[^"])*"')
_UP_TO_END: Final = re.compile(r'[^";]*(?:"(?:\\"|[^"])*"[^";]*)*(?=;)')
_TYPE: Final = re.compile(r":\s*(\d+)")
_TYPES: Final = ("0", "1", "2")


def join_repeated(statements: Sequence[Statement], findings: Findings) -> None:
    """Of several VAL_ all choices count, the later ones first; of several SIG_VALTYPE_ the last."""
    said: defaultdict[tuple[str, int, str], list[Statement]] = defaultdict(list)
    for statement in statements:
        if statement.kind in ("VAL_", "SIG_VALTYPE_") and statement.frame_id is not None:
            said[statement.kind, statement.frame_id, statement.name].append(statement)
    for (kind, _, name), several in said.items():
        if not all(statement.is_readable() for statement in several):
            continue
        if kind == "SIG_VALTYPE_":
            _check_types(name, several, findings)
        elif len(several) > 1:
            _join_choices(name, several, findings)


def _join_choices(name: str, several: Sequence[Statement], findings: Findings) -> None:
    first, *others = several
    for other in others:
        what = f"VAL_ speaks of {name} on line {first.line} too: both count, and of one number this one"
        findings.warn(other.line, "repeated", what)
        more = " ".join(_CHOICES.findall(other.text.partition(name)[2]))
        found = _UP_TO_END.match(first.text)
        begin = found.end() if found is not None else 0
        first.text = f"{first.text[:begin]} {more} {first.text[begin:]}"
        other.blank()


def _check_types(name: str, several: Sequence[Statement], findings: Findings) -> None:
    types = [found[1] for statement in several if (found := _TYPE.search(statement.text)) is not None]
    last = several[-1]
    if len(set(types)) > 1:
        what = f"SIG_VALTYPE_ says something else of {name} on line {several[0].line}: this one is used"
        findings.warn(last.line, "repeated", what)
    if types and types[-1] not in _TYPES:
        what = f"SIG_VALTYPE_ {types[-1]} of {name} is none of 0, 1 and 2: it is taken for an integer"
        findings.warn(last.line, "unsupported", what)
