"""What the messages of the databases of one bus have in common that they should not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from msgspec import Struct

from can_stream.databases.findings import Finding, Findings, Severity
from can_stream.databases.locating import Locator
from can_stream.frames.batches import id_text
from can_stream.signals.model import MessageModel, SignalModel, pgn_of

# Every pair of a message's signals is looked at.
_MAX_COMPARED_SIGNALS = 1000


def check_message(placed: Placed, locator: Locator, findings: Findings) -> None:
    """Signals outside the message, or over the same bits."""
    message = placed.message
    for signal in message.signals:
        if signal.needed_bytes > message.length:
            findings.warn(
                _line_of(placed, signal, locator),
                "outside_message",
                f"{message.name}.{signal.name} needs {signal.needed_bytes} bytes of the message's "
                f"{message.length}: it is decoded only from frames that are long enough",
            )
    for first, second in overlapping(message):
        findings.warn(
            _line_of(placed, second, locator),
            "overlap",
            f"{message.name}.{second.name} and .{first.name} have bits in common: both are decoded",
        )


def _line_of(placed: Placed, signal: SignalModel, locator: Locator) -> int:
    message = placed.message
    dbc_id = message.arbitration_id | message.is_extended << 31
    start = signal.start ^ 7 if signal.big_endian else signal.start
    return locator.line(dbc_id, message.name, signal.name, start, placed.nth)


def overlapping(message: MessageModel) -> Iterator[tuple[SignalModel, SignalModel]]:
    """Pairs that can be there together and share bits."""
    signals = message.signals[:_MAX_COMPARED_SIGNALS]
    masks = [_bits(signal) for signal in signals]
    for index, mask in enumerate(masks):
        for other in range(index):
            if mask & masks[other] and not exclude(message, signals[index], signals[other]):
                yield signals[other], signals[index]


def _bits(signal: SignalModel) -> int:
    mask = 0
    for at in range(signal.start, signal.start + signal.length):
        mask |= 1 << (at ^ 7 if signal.big_endian else at)
    return mask


def exclude(message: MessageModel, one: SignalModel, other: SignalModel) -> bool:
    """Whether a common multiplexer never lets both be there."""
    conditions = dict(_conditions(message, other))
    return any(
        selector in conditions and not _intersect(ranges, conditions[selector])
        for selector, ranges in _conditions(message, one)
    )


def _conditions(
    message: MessageModel, signal: SignalModel
) -> Iterator[tuple[int, tuple[tuple[int, int], ...]]]:
    while signal.selector >= 0:
        yield signal.selector, signal.ranges
        signal = message.signals[signal.selector]


def _intersect(some: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> bool:
    return any(first <= end and start <= last for first, last in some for start, end in others)


class Placed(Struct):
    """A message where it stands; `nth` of its id and name there; `is_used`: whether frames can be it."""

    message: MessageModel
    path: PurePath
    line: int
    nth: int = 0
    is_used: bool = True

    @property
    def key(self) -> tuple[int, bool]:
        """Of one of these, one message is used."""
        return self.message.arbitration_id, self.message.is_extended

    @property
    def place(self) -> tuple[PurePath, int, str]:
        """Where it is described, and as what: a range of ids in a SYM file is one place."""
        return self.path, self.line, self.message.name

    def seen_from(self, other: Placed) -> str:
        """Where it is, for a finding on `other`."""
        return f"line {self.line}" if self.path == other.path else f"{self.path}:{self.line}"


def check_ids(placed: Sequence[Placed], findings: Findings) -> None:
    """Ids that occur twice in one file: as with cantools the last message is used."""
    last: dict[tuple[int, bool], Placed] = {}
    for one in placed:
        earlier = last.get(one.key)
        if earlier is not None:
            earlier.is_used = False
            name = one.message.name
            findings.warn(
                one.line,
                "duplicate_id",
                f"{name} has the id {_id(one)} of {earlier.message.name} (line {earlier.line}): "
                f"{name} is used",
            )
        last[one.key] = one


def check_together(files: Sequence[Sequence[Placed]]) -> list[Finding]:
    """What messages of all files on one bus share: names, numbers, parameter groups, and ids, of which those
    of the first file are used."""
    report: list[Finding] = []
    used: dict[tuple[int, bool], Placed] = {}
    names: dict[str, Placed] = {}
    groups: dict[int, Placed] = {}
    of_one_place: Counter[tuple[PurePath, int, str]] = Counter()
    for placed in files:
        for one in placed:
            owner = used.get(one.key)
            if owner is not None:
                one.is_used = False
                report.append(_shadowed(one, owner))
            elif (named := names.setdefault(one.message.name, one)).place != one.place:
                report.append(_duplicate(one, named))
            else:
                of_one_place[one.place] += 1
        used |= {one.key: one for one in placed if one.is_used}
    report += [_many_ids(names[place[2]], ids) for place, ids in of_one_place.items() if ids > 1]
    for one in used.values():
        twin = used.get((one.message.arbitration_id, False)) if one.message.is_extended else None
        if twin is not None:
            report.append(_same_number(one, twin))
        if one.message.by_pgn:
            first = groups.setdefault(pgn_of(one.message.arbitration_id), one)
            if first is not one:
                report.append(_same_group(one, first))
    return report


def _shadowed(one: Placed, owner: Placed) -> Finding:
    told = f"{owner.path} has the id {_id(one)} for {owner.message.name}"
    return _warning(one, "shadowed", f"{one.message.name} is not used: {told}")


def _duplicate(one: Placed, named: Placed) -> Finding:
    return _warning(
        one, "duplicate_message", f"{one.message.name} is also a message on {named.seen_from(one)}"
    )


def _many_ids(one: Placed, ids: int) -> Finding:
    said = f"{one.message.name} is the message of {ids} ids: their values bear the same names"
    return _warning(one, "duplicate_message", said)


def _same_number(one: Placed, twin: Placed) -> Finding:
    return _warning(
        one,
        "same_number",
        f"{one.message.name} (extended) and {twin.message.name} (standard, {twin.seen_from(one)}) have the "
        f"same number {one.message.arbitration_id:#x}: they are different ids",
    )


def _same_group(one: Placed, first: Placed) -> Finding:
    name = first.message.name
    return _warning(
        one,
        "same_pgn",
        f"{one.message.name} has the parameter group of {name} ({first.seen_from(one)}): frames of neither's "
        f"exact id are {name}",
    )


def _warning(one: Placed, code: str, text: str) -> Finding:
    return Finding(one.path, one.line, Severity.WARNING, code, text)


def _id(one: Placed) -> str:
    return id_text(one.message.arbitration_id, extended=one.message.is_extended)
