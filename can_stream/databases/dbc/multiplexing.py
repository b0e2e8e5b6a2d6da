"""Which multiplexer picks which signal of a DBC, and what is to be done where the file does not say it.

A signal marked `m` belongs to the multiplexer that SG_MUL_VAL_ names, else to the only one marked `M`. What
has none is not taken for a signal that is always there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct, field

from can_stream.databases.dbc.file import DbcFile
from can_stream.databases.dbc.limits import number_of
from can_stream.databases.dbc.statements import Statement
from can_stream.databases.findings import Findings

_MARKED: Final = re.compile(r"(\s*SG_\s+(\w+))(?:\s+(\w+))?\s*:")
_MARK: Final = re.compile(r"M|m(\d+)(M?)")
_VALUES: Final = re.compile(r"\s*SG_MUL_VAL_\s+\d+\s+(\w+)\s+(\w+)\s+([^;]*)")
_RANGES: Final = re.compile(r"\d+\s*-\s*\d+[^;]*")
_RANGE: Final = re.compile(r"(\d+)\s*-\s*(\d+)")
_NO_MARK: Final = -2


class _Signal(Struct):
    """A signal of a message; `picked`: the number behind its m, -1 without, _NO_MARK with another mark."""

    statement: Statement
    picked: int
    is_multiplexer: bool


class _Values(Struct):
    """What SG_MUL_VAL_ says of one signal."""

    statement: Statement
    multiplexer: str
    ranges: list[tuple[int, int]]


class _Message(Struct):
    """`signals` by name; of one name the one that multiplexes, else the last."""

    frame_id: int | None
    signals: dict[str, _Signal] = field(default_factory=dict)
    repeated: list[_Signal] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    multiplexers: set[str] = field(default_factory=set)


def resolve_multiplexers(file: DbcFile, findings: Findings) -> None:
    """Sets aside signals whose multiplexer is not known, and says of the others what the file leaves out."""
    values = _values_of(file.statements)
    messages = list(_messages(file.statements))
    _check_values(values, messages, findings)
    added: list[Statement] = []
    left_out: list[tuple[Statement, str]] = []
    for message in messages:
        if any(signal.picked != -1 or name in values[message.frame_id] for name, signal in _each(message)):
            added += _resolve(message, values[message.frame_id], left_out, findings)
    file.leave_out(left_out)
    file.add(added)


def _values_of(statements: Sequence[Statement]) -> defaultdict[int | None, dict[str, list[_Values]]]:
    values: defaultdict[int | None, dict[str, list[_Values]]] = defaultdict(dict)
    for statement in statements:
        found = _VALUES.match(statement.text) if statement.kind == "SG_MUL_VAL_" else None
        if found:
            ranges = [(number_of(first), number_of(last)) for first, last in _RANGE.findall(found[3])]
            said = _Values(statement, found[2], ranges)
            values[statement.frame_id].setdefault(found[1], []).append(said)
    return values


def _messages(statements: Sequence[Statement]) -> Iterator[_Message]:
    message: _Message | None = None
    for statement in statements:
        if statement.kind == "BO_":
            if message is not None:
                yield message
            message = _Message(statement.frame_id)
        found = _MARKED.match(statement.text) if statement.kind == "SG_" else None
        if found and message is not None:
            _add(message, found[2], _signal(statement, found[3] or ""))
    if message is not None:
        yield message


def _signal(statement: Statement, mark: str) -> _Signal:
    found = _MARK.fullmatch(mark)
    if found is None:
        return _Signal(statement, _NO_MARK if mark else -1, is_multiplexer=False)
    return _Signal(statement, number_of(found[1]) if found[1] else -1, mark.endswith("M"))


def _add(message: _Message, name: str, signal: _Signal) -> None:
    before = message.signals.get(name)
    if before is not None and before.is_multiplexer:
        message.repeated.append(signal)
    else:
        message.signals[name] = signal
        message.repeated += [before] if before is not None else []
    if signal.is_multiplexer:
        message.multiplexers.add(name)
        if signal.picked == -1:
            message.roots.append(name)


def _each(message: _Message) -> Iterator[tuple[str, _Signal]]:
    yield from message.signals.items()
    yield from ((signal.statement.name, signal) for signal in message.repeated)


def _check_values(
    values: dict[int | None, dict[str, list[_Values]]], messages: Sequence[_Message], findings: Findings
) -> None:
    """SG_MUL_VAL_ of signals that are not there, and ranges that end before they begin."""
    known = {(message.frame_id, name) for message in messages for name, _ in _each(message)}
    for frame_id, of_message in values.items():
        for name, several in of_message.items():
            for said in several:
                if (frame_id, name) not in known:
                    what = f"SG_MUL_VAL_ speaks of {name}, which is no signal of that message"
                    findings.warn(said.statement.line, "multiplexing", what)
                for first, last in said.ranges:
                    if first > last:
                        what = f"SG_MUL_VAL_ of {name}: no value is in the range {first}-{last}"
                        findings.warn(said.statement.line, "multiplexing", what)


def _resolve(
    message: _Message,
    values: dict[str, list[_Values]],
    left_out: list[tuple[Statement, str]],
    findings: Findings,
) -> list[Statement]:
    """What SG_MUL_VAL_ should have said of the signals of one message; `left_out` grows by the others."""
    parents: dict[str, str] = {}
    problems: dict[str, str] = {}
    message.roots = [root for root in message.roots if root not in values]
    named = {said.multiplexer for several in values.values() for said in several}
    for name, signal in _each(message):
        if signal.picked == _NO_MARK and name in named and name not in values:
            what = f"what stands behind {name} is neither M nor m and a number: it picks nothing"
            findings.warn(signal.statement.line, "multiplexing", what)
        elif signal.picked == _NO_MARK:
            problems[name] = "what stands behind its name is neither M nor m and a number"
        if signal.picked < 0 and name not in values:
            continue
        problem, parent = _parent(message, values.get(name, []))
        if problem:
            problems[name] = problem
        else:
            parents[name] = parent
    for name in parents:
        if name not in problems and (problem := _broken_chain(name, parents, problems)):
            problems[name] = problem
    added: list[Statement] = []
    for name, signal in _each(message):
        if name in problems:
            left_out.append((signal.statement, problems[name]))
        elif name in parents:
            _join(name, values.get(name, []), findings)
            added += _said_of(message, name, signal, parents[name], values.get(name, []), findings)
    return added


def _parent(message: _Message, values: list[_Values]) -> tuple[str, str]:
    """(why it has none, "") or ("", its multiplexer)."""
    if values:
        return _named_parent(message, values)
    if len(message.roots) == 1:
        return "", message.roots[0]
    if not message.roots:
        return "no signal of its message is marked M, and no SG_MUL_VAL_ says what picks it", ""
    return f"{', '.join(message.roots[:5])} are marked M, and no SG_MUL_VAL_ says which of them picks it", ""


def _named_parent(message: _Message, values: list[_Values]) -> tuple[str, str]:
    first, *others = dict.fromkeys(said.multiplexer for said in values)
    if others:
        return f"SG_MUL_VAL_ names several multiplexers for it: {first}, {', '.join(others[:5])}", ""
    if first not in message.multiplexers:
        return f"SG_MUL_VAL_ says that {first} picks it, which is no multiplexer of its message", ""
    if not any(low <= high for said in values for low, high in said.ranges):
        return f"SG_MUL_VAL_ on line {values[0].statement.line} has no value that picks it", ""
    return "", first


def _broken_chain(name: str, parents: dict[str, str], problems: dict[str, str]) -> str:
    """Why the multiplexers above a signal lead nowhere, "" where they do not."""
    seen = {name}
    at = parents[name]
    while at in parents or at in problems:
        if at in seen:
            return "its multiplexers pick each other"
        if at in problems:
            return f"its multiplexer {at} is not known to be there"
        seen.add(at)
        at = parents[at]
    return ""


def _join(name: str, values: list[_Values], findings: Findings) -> None:
    """Of several SG_MUL_VAL_ of a signal cantools takes the last: all of their values pick it."""
    if len(values) < 2 or not all(said.statement.is_readable() for said in values):
        return
    first, *others = values
    ranges = ", ".join(f"{low}-{high}" for said in values for low, high in said.ranges)
    first.statement.text = _RANGES.sub(ranges, first.statement.text, count=1)
    for said in others:
        what = f"SG_MUL_VAL_ speaks of {name} on line {first.statement.line} too: the values of both pick it"
        findings.warn(said.statement.line, "multiplexing", what)
        said.statement.blank()


def _said_of(
    message: _Message, name: str, signal: _Signal, parent: str, values: list[_Values], findings: Findings
) -> Iterator[Statement]:
    """With several multiplexers SG_MUL_VAL_ has to say which one it is, and who reads needs the mark."""
    line = signal.statement.line
    if signal.picked < 0:
        what = f"{name} is not marked as multiplexed, but SG_MUL_VAL_ says so: {parent} picks it"
        findings.warn(line, "multiplexing", what)
        first = next(first for said in values for first, last in said.ranges if first <= last)
        mark = f"m{first}{'M' if signal.is_multiplexer else ''}"
        text = signal.statement.text
        signal.statement.text = _MARKED.sub(lambda found: f"{found[1]} {mark} :", text, count=1)
    elif len(message.multiplexers) > 1 and not values:
        what = f"no SG_MUL_VAL_ says what picks {name}: it is there when {parent} is {signal.picked}"
        findings.warn(line, "multiplexing", what)
        number, picked = message.frame_id, signal.picked
        text = f"SG_MUL_VAL_ {number} {name} {parent} {picked}-{picked};\n"
        yield Statement("SG_MUL_VAL_", line, text, number)
