"""What the messages of one database have in common that they should not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edge_agent.databases.findings import Findings
from edge_agent.databases.locating import Locator
from signal_decoding.model import MessageModel, SignalModel, pgn_of
from wire_protocol.batches import id_text

# Every pair of a message's signals is looked at.
_MAX_COMPARED_SIGNALS = 1000


def check_message(message: MessageModel, line: int, locator: Locator, findings: Findings) -> None:
    """Signals outside the message, of the same name, or over the same bits."""
    dbc_id = message.arbitration_id | message.is_extended << 31
    seen: set[str] = set()
    for signal in message.signals:
        at = locator.line(dbc_id, message.name, signal.name)
        name = f"{message.name}.{signal.name}"
        if signal.needed_bytes > message.length:
            findings.warn(
                at,
                "outside_message",
                f"{name} needs {signal.needed_bytes} bytes of the message's {message.length}: "
                "it is decoded only from frames that are long enough",
            )
        if signal.name in seen:
            findings.warn(at, "duplicate_signal", f"{name} exists more than once")
        seen.add(signal.name)
    for first, second in overlapping(message):
        findings.warn(
            locator.line(dbc_id, message.name, second.name) or line,
            "overlap",
            f"{message.name}.{second.name} and .{first.name} have bits in common: both are decoded",
        )


def overlapping(message: MessageModel) -> Iterator[tuple[SignalModel, SignalModel]]:
    """Pairs that can be there together and share bits."""
    signals = message.signals[:_MAX_COMPARED_SIGNALS]
    masks = [_bits(signal) for signal in signals]
    for index, mask in enumerate(masks):
        for other in range(index):
            if mask & masks[other] and not _exclude(message, signals[index], signals[other]):
                yield signals[other], signals[index]


def _bits(signal: SignalModel) -> int:
    mask = 0
    for at in range(signal.start, signal.start + signal.length):
        mask |= 1 << (at ^ 7 if signal.big_endian else at)
    return mask


def _exclude(message: MessageModel, one: SignalModel, other: SignalModel) -> bool:
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


def check_messages(
    messages: Sequence[MessageModel], lines: Sequence[int], findings: Findings
) -> list[MessageModel]:
    """Ids and names that occur twice. Returns what cantools would take: of one id the last message."""
    by_id: dict[tuple[int, bool], int] = {}
    by_name: dict[str, int] = {}
    for index, message in enumerate(messages):
        key = (message.arbitration_id, message.is_extended)
        if key in by_id:
            earlier = messages[by_id[key]]
            findings.warn(
                lines[index],
                "duplicate_id",
                f"{message.name} has the id {_id(message)} of {earlier.name} (line {lines[by_id[key]]}): "
                f"{message.name} is used",
            )
        by_id[key] = index
        if message.name in by_name:
            earlier_line = lines[by_name[message.name]]
            findings.warn(
                lines[index], "duplicate_message", f"{message.name} is also a message on line {earlier_line}"
            )
        by_name.setdefault(message.name, index)
    kept = [messages[index] for index in sorted(by_id.values())]
    _check_numbers(kept, dict(zip(map(id, messages), lines, strict=True)), findings)
    return kept


def _check_numbers(kept: Sequence[MessageModel], line_of: dict[int, int], findings: Findings) -> None:
    standard = {message.arbitration_id: message for message in kept if not message.is_extended}
    groups: dict[int, MessageModel] = {}
    for message in kept:
        twin = standard.get(message.arbitration_id)
        if message.is_extended and twin:
            findings.warn(
                line_of[id(message)],
                "same_number",
                f"{message.name} (extended) and {twin.name} (standard) have the same number "
                f"{message.arbitration_id:#x}: they are different ids",
            )
        if message.by_pgn:
            first = groups.setdefault(pgn_of(message.arbitration_id), message)
            if first is not message:
                findings.warn(
                    line_of[id(message)],
                    "same_pgn",
                    f"{message.name} has the parameter group of {first.name}: frames of neither's exact id "
                    f"are {first.name}",
                )


def _id(message: MessageModel) -> str:
    return id_text(message.arbitration_id, extended=message.is_extended)
