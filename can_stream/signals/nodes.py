"""Multiplexing as nodes: sets of signals that are there together.

A message has a root node; each selector maps its raw values to nodes. A value that neither a signal nor a
choice of the selector names leads to none, and every signal below the selector is undecodable then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct, field

from can_stream.signals.errors import TableError
from can_stream.signals.model import Encoding, MessageModel, SignalModel

MAX_ENTRIES: Final = 1 << 21
NO_NODE: Final = -1
SIGN_BIT: Final = 1 << 63


def order_key(signal: SignalModel, raw: int) -> int:
    """`raw` as an unsigned 64-bit number in the order of the raw values."""
    return raw + SIGN_BIT if signal.encoding is Encoding.SIGNED else raw


class Nodes(Struct):
    """All nodes of a table.

    `members`: the table's signals of each node; the root of each message comes first, in their order.
    `segments`: per selector (first order key, node) in ascending order, from key 0 on.
    `depth`: how many selectors a signal can depend on.
    `below`: per selector all signals that depend on it, however deep.
    """

    members: list[tuple[int, ...]] = field(default_factory=list)
    segments: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    below: dict[int, list[int]] = field(default_factory=dict)
    depth: int = 0


def build_nodes(messages: Sequence[MessageModel]) -> Nodes:
    """The nodes of all messages. Raises TableError where they would be too many."""
    nodes = Nodes()
    base, budget = 0, MAX_ENTRIES
    for message in messages:
        roots = (index for index, signal in enumerate(message.signals) if signal.selector < 0)
        nodes.members.append(tuple(base + index for index in roots))
        base += len(message.signals)
    base = 0
    for message in messages:
        children: defaultdict[int, list[int]] = defaultdict(list)
        for index, signal in enumerate(message.signals):
            children[signal.selector].append(index)
        for selector in sorted(index for index in children if index >= 0):
            budget = _add_selector(nodes, message, base, selector, children[selector], budget)
            nodes.below[base + selector] = [base + index for index in _descendants(children, selector)]
            budget -= len(nodes.below[base + selector])
            nodes.depth = max(nodes.depth, _depth(message, selector))
        if budget < 0:
            raise TableError(f"more than {MAX_ENTRIES} combinations of multiplexed signals")
        base += len(message.signals)
    return nodes


def _add_selector(
    nodes: Nodes, message: MessageModel, base: int, selector: int, children: list[int], budget: int
) -> int:
    known: dict[tuple[int, ...], int] = {}
    segments: list[tuple[int, int]] = []
    for key, present in _sweep(message, selector, children):
        node = NO_NODE
        if present is not None:
            budget -= len(present) + 1
            if budget < 0:
                break
            if present not in known:
                known[present] = len(nodes.members)
                nodes.members.append(tuple(base + index for index in present))
            node = known[present]
        segments.append((key, node))
    nodes.segments[base + selector] = segments
    return budget


def _sweep(
    message: MessageModel, selector: int, children: list[int]
) -> Iterator[tuple[int, tuple[int, ...] | None]]:
    """(first order key, the children from there on, None where the value is unknown), ascending from 0."""
    of = message.signals[selector]
    low, high = of.raw_limits
    steps: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    spans = [(child, span) for child in children for span in message.signals[child].ranges]
    spans += [(-1, (value, value)) for value in of.choices]
    for child, (first, last) in spans:
        if first <= high and last >= low:
            steps[order_key(of, max(first, low))].append((child, 1))
            steps[order_key(of, min(last, high)) + 1].append((child, -1))
    if 0 not in steps:
        yield 0, None
    active: defaultdict[int, int] = defaultdict(int)
    for key in sorted(steps):
        for child, change in steps[key]:
            active[child] += change
            if not active[child]:
                del active[child]
        if key < 1 << 64:
            yield key, tuple(sorted(child for child in active if child >= 0)) if active else None


def _depth(message: MessageModel, selector: int) -> int:
    depth = 0
    while selector >= 0:
        selector, depth = message.signals[selector].selector, depth + 1
    return depth


def _descendants(children: dict[int, list[int]], selector: int) -> list[int]:
    found: list[int] = []
    waiting = list(children.get(selector, ()))
    while waiting:
        index = waiting.pop()
        found.append(index)
        waiting.extend(children.get(index, ()))
    return sorted(found)
