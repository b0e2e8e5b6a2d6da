"""What a DBC file must not declare, because loading it would take all memory or all day."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from can_stream.databases.dbc.statements import Statement

MAX_CONTROL_MESSAGE_BYTES: Final = 4096
MAX_SELECTOR_VALUES: Final = 1 << 16
# Signals in all combinations of the multiplexer values of one message.
MAX_COMBINATIONS: Final = 1 << 18

_LENGTH: Final = re.compile(r"\s*BO_\s+\d+\s+\w+\s*:\s*(\d+)")
_LAYOUT: Final = re.compile(r"\s*SG_\s+(\w+)\s*(M|m\d+M?)?\s*:\s*(\d+)\s*\|\s*(\d+)")
_RANGES: Final = re.compile(r"\s*SG_MUL_VAL_\s+\d+\s+(\w+)\s+(\w+)\s+([^;]*)")
_CHOICES: Final = re.compile(r"\s*VAL_\s+\d+\s+(\w+)")
_RANGE: Final = re.compile(r"(\d+)\s*-\s*(\d+)")


def excesses(statements: list[Statement]) -> Iterator[tuple[Statement, str]]:
    """Every statement that goes too far, and why. Of a message that does, its BO_ statement."""
    by_message: defaultdict[int | None, list[Statement]] = defaultdict(list)
    for statement in statements:
        reason = _excess(statement)
        if reason:
            yield statement, reason
        else:
            by_message[statement.frame_id].append(statement)
    for frame_id, parts in by_message.items():
        heads = [part for part in parts if part.kind == "BO_"]
        if frame_id is not None and heads and _combinations(parts) > MAX_COMBINATIONS:
            for head in heads:
                yield head, f"its multiplexers have more than {MAX_COMBINATIONS} combinations"


def _excess(statement: Statement) -> str:
    if statement.kind == "BO_" and (found := _LENGTH.match(statement.text)):
        size = number_of(found.group(1))
        return "" if size <= MAX_CONTROL_MESSAGE_BYTES else f"a message of {size} bytes"
    if statement.kind == "SG_" and (found := _LAYOUT.match(statement.text)):
        bits = number_of(found.group(3)) + number_of(found.group(4))
        return "" if bits <= MAX_CONTROL_MESSAGE_BYTES * 8 else f"a signal that ends at bit {bits}"
    if statement.kind == "SG_MUL_VAL_" and (found := _RANGES.match(statement.text)):
        values = _values(found.group(3))
        return "" if values <= MAX_SELECTOR_VALUES else f"{values} multiplexer values"
    return ""


def number_of(digits: str) -> int:
    """The number of some digits, 10**20 for all that are longer."""
    # Far beyond every limit; int() itself refuses some thousand digits.
    return int(digits) if len(digits) < 20 else 10**20


def _values(ranges: str) -> int:
    pairs = ((number_of(first), number_of(last)) for first, last in _RANGE.findall(ranges))
    return sum(max(last - first + 1, 0) for first, last in pairs)


def _combinations(parts: list[Statement]) -> int:
    """An upper bound of (signal, multiplexer values) pairs: nested multiplexers multiply."""
    values: defaultdict[str, int] = defaultdict(int)
    signals = 0
    marked = 0
    for part in parts:
        if part.kind == "SG_" and (found := _LAYOUT.match(part.text)):
            signals += 1
            marked += (found.group(2) or "").startswith("m")
            if (found.group(2) or "").endswith("M"):
                values[found.group(1)] += 1
    for part in parts:
        if part.kind == "SG_MUL_VAL_" and (found := _RANGES.match(part.text)):
            values[found.group(2)] += _values(found.group(3))
        elif part.kind == "VAL_" and (found := _CHOICES.match(part.text)) and found.group(1) in values:
            values[found.group(1)] += part.text.count('"') // 2
    if len(values) <= 1:
        return (sum(values.values()) + marked) * 2
    product = 1
    for count in values.values():
        product = min(product * max(count, 1), 1 << 60)
    return product if product <= MAX_COMBINATIONS else _chained(parts, values)


def _chained(parts: list[Statement], values: dict[str, int]) -> int:
    """The same bound where it matters which multiplexer is below which."""
    below = {
        found.group(1): (found.group(2), _values(found.group(3)))
        for part in parts
        if part.kind == "SG_MUL_VAL_" and (found := _RANGES.match(part.text))
    }
    total = 0
    for selector, count in values.items():
        product, at, depth = max(count, 1), selector, 0
        while at in below and depth <= len(values):
            at, own = below[at]
            product = min(product * max(own, 1), 1 << 60)
            depth += 1
        total += product
    return total
