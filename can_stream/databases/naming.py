"""Names for the signals of a message that bear the same one: `Speed`, `Speed#2`, in the order of the file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from msgspec.structs import replace

from can_stream.databases.checks import exclude
from can_stream.signals.model import MessageModel

# Every pair of so many signals of one name is looked at.
_MAX_COMPARED: Final = 100


def numbered(message: MessageModel, line_of: Callable[[int], int]) -> tuple[MessageModel, list[int]]:
    """The message with a name of its own for each signal that can be there beside another of its name.

    Also which signals (by index) have another name now. `line_of`: the line of a signal, by index.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, signal in enumerate(message.signals):
        groups[signal.name].append(index)
    taken, signals, renamed = set(groups), list(message.signals), []
    for name, group in groups.items():
        if len(group) == 1:
            continue
        group.sort(key=lambda index: (line_of(index), index))
        number = 1
        for which, members in enumerate(_apart(message, group)):
            new = name
            while which and new in taken:
                number += 1
                new = f"{name}#{number}"
            taken.add(new)
            for index in members if which else ():
                signals[index] = replace(signals[index], name=new)
                renamed.append(index)
    return replace(message, signals=tuple(signals)), renamed


def _apart(message: MessageModel, group: list[int]) -> list[list[int]]:
    """The group in parts of which no two signals can be there together."""
    if _all_exclude(message, group):
        return [group]
    parts: list[list[int]] = []
    for number, index in enumerate(group):
        fitting = (
            part
            for part in parts
            if all(exclude(message, message.signals[index], message.signals[other]) for other in part)
        )
        part = next(fitting, None) if number < _MAX_COMPARED else None
        if part is None:
            parts.append([index])
        else:
            part.append(index)
    return parts


def _all_exclude(message: MessageModel, group: list[int]) -> bool:
    """Whether one multiplexer picks at most one of them at a time, as is usual."""
    selectors = {message.signals[index].selector for index in group}
    spans = sorted(span for index in group for span in message.signals[index].ranges)
    is_apart = all(one[1] < other[0] for one, other in pairwise(spans))
    return len(selectors) == 1 and selectors != {-1} and is_apart
