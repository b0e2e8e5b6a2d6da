"""cantools' messages as the messages of a signal table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from can_stream.databases.findings import Findings
from can_stream.databases.locating import Locator
from can_stream.databases.multiplexers import check_multiplexers, check_scaling
from can_stream.databases.naming import numbered
from can_stream.signals.checking import problem_of
from can_stream.signals.errors import TableError
from can_stream.signals.model import Encoding, MessageModel, SignalModel

if TYPE_CHECKING:
    from cantools.database import Database
    from cantools.database.can import Message, Signal

_INT64: Final = 1 << 63
_J1939: Final = "j1939"


def is_j1939(database: Database) -> bool:
    """Whether the attribute ProtocolType of a DBC says J1939, itself or by its default."""
    if database.dbc is None:
        return False
    attributes, definitions = database.dbc.attributes, database.dbc.attribute_definitions
    attribute = attributes.get("ProtocolType") if attributes else None
    definition = definitions.get("ProtocolType") if definitions else None
    value = attribute.value if attribute else definition.default_value if definition else None
    return str(value).lower() == _J1939


def dbc_id_of(message: Message) -> int:
    """The id as DBC files write it: bit 31 marks extended ids."""
    return message.frame_id | (1 << 31 if message.is_extended_frame else 0)


def compile_message(
    message: Message, *, j1939: bool, locator: Locator, findings: Findings, protocol: str = "", nth: int = 0
) -> MessageModel:
    """`message` for the table; what a table cannot hold is reported and left out.

    `j1939`: what its file says; `protocol`: what is said instead of file and message. `nth`: of its id and
    name in the file. Raises TableError where no table can hold it.
    """
    lines = _Lines(message, locator, nth)
    line = lines.of_message
    if message.is_container:
        findings.warn(line, "unsupported", f"{message.name} is a container: its contents are not decoded")
    signals = [] if message.is_container else _supported(message, lines, findings)
    number = {signal.name: index for index, signal in reversed(list(enumerate(signals)))}
    number |= {
        signal.name: index for index, signal in reversed(list(enumerate(signals))) if _can_select(signal)
    }
    placed = [_with_selector(_signal_model(signal), signal, number) for signal in signals]
    extended = bool(message.is_extended_frame)
    said = protocol or (_J1939 if j1939 else message.protocol)
    by_pgn = extended and said == _J1939
    model = MessageModel(message.name, message.frame_id, extended, by_pgn, message.length, tuple(placed))
    if not _is_of_its_types(model):
        raise TableError(f"the id, the name or the length of message {message.name} is of another kind")

    def line_of(index: int) -> int:
        return lines.of_signal(signals[index])

    check_scaling(model, line_of, findings)
    check_multiplexers(model, line_of, findings)
    named, renamed = numbered(model, line_of)
    for index in renamed:
        findings.warn(
            line_of(index),
            "duplicate_signal",
            f"{message.name}.{signals[index].name} exists more than once: this one is shown as "
            f"{named.signals[index].name}",
        )
    return named


class _Lines:
    """Where a message and its signals stand."""

    def __init__(self, message: Message, locator: Locator, nth: int) -> None:
        self._message = message
        self._locator = locator
        self._nth = nth

    @property
    def of_message(self) -> int:
        return self._locator.line(dbc_id_of(self._message), self._message.name, nth=self._nth)

    def of_signal(self, signal: Signal) -> int:
        return self._locator.line(
            dbc_id_of(self._message), self._message.name, signal.name, signal.start, self._nth
        )


def _supported(message: Message, lines: _Lines, findings: Findings) -> list[Signal]:
    """The signals that a table can hold and whose multiplexers are all there, in cantools' order."""
    fitting = []
    for signal in message.signals:
        name, problem = f"{message.name}.{signal.name}", _problem_of(signal)
        if problem:
            findings.error(lines.of_signal(signal), "unsupported", f"{name} is not decoded: {problem}")
            continue
        fitting.append(signal)
        strange = [str(key) for key in signal.conversion.choices or {} if _whole(key) is None]
        if strange:
            said = f"names of values that are no whole numbers are left out: {', '.join(strange[:5])}"
            findings.warn(lines.of_signal(signal), "unsupported", f"{name}: {said}")
    reachable: set[int] = set()
    names: set[str] = set()
    grown = True
    while grown:
        grown = False
        for index, signal in enumerate(fitting):
            parent = signal.multiplexer_signal
            if index not in reachable and (parent is None or (parent in names and signal.multiplexer_ids)):
                reachable.add(index)
                grown = True
                if _can_select(signal):
                    names.add(signal.name)
    for index, signal in enumerate(fitting):
        if index not in reachable:
            findings.warn(
                lines.of_signal(signal),
                "unreachable",
                f"{message.name}.{signal.name} is not decoded: {signal.multiplexer_signal!r} never picks it",
            )
    return [signal for index, signal in enumerate(fitting) if index in reachable]


def _can_select(signal: Signal) -> bool:
    return bool(signal.is_multiplexer) and not signal.conversion.is_float and signal.length <= 64


def _problem_of(signal: Signal) -> str:
    for number in (signal.conversion.scale, signal.conversion.offset):
        if isinstance(number, int) and not -_INT64 <= number < _INT64:
            return f"{number} is no 64-bit number"
    model = _signal_model(signal)
    if not _is_of_its_types(model):
        return "its place, its scaling or a name of a value is of another kind than it must be"
    return problem_of(model)


def _is_of_its_types(model: SignalModel | MessageModel) -> bool:
    """Whether everything in it is of the type that its field declares, as who reads the table will check."""
    try:
        msgspec.msgpack.decode(msgspec.msgpack.encode(model), type=type(model))
    except (msgspec.MsgspecError, TypeError, OverflowError, UnicodeEncodeError):
        return False
    return True


def _whole(key: object) -> int | None:
    """The raw value that a choice names: some files write 1.0."""
    if isinstance(key, float) and key.is_integer():
        return int(key)
    return key if isinstance(key, int) and not isinstance(key, bool) else None


def _signal_model(signal: Signal) -> SignalModel:
    conversion = signal.conversion
    encoding = Encoding.SIGNED if signal.is_signed else Encoding.UNSIGNED
    start = signal.start
    if signal.byte_order == "big_endian":
        start += 7 - 2 * (start % 8)
    named: Iterable[tuple[object, object]] = (conversion.choices or {}).items()
    choices = {
        value: str(name)
        for key, name in named
        if (value := _whole(key)) is not None and -_INT64 <= value < 2 * _INT64
    }
    return SignalModel(
        name=signal.name,
        start=start,
        length=signal.length,
        big_endian=signal.byte_order == "big_endian",
        encoding=Encoding.FLOAT if conversion.is_float else encoding,
        scale=conversion.scale,
        offset=conversion.offset,
        unit=signal.unit or "",
        choices=dict(sorted(choices.items())),
    )


def _with_selector(model: SignalModel, signal: Signal, number: dict[str, int]) -> SignalModel:
    """With the raw values of its multiplexer that pick it.

    The number behind the m is compared with the raw value, whatever factor and offset the multiplexer has.
    """
    if signal.multiplexer_signal is None:
        return model
    ranges = _ranges(signal.multiplexer_ids or ())
    return replace(model, selector=number[signal.multiplexer_signal], ranges=ranges)


def _ranges(values: Iterable[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for value in sorted(set(values)):
        if not -_INT64 <= value < 2 * _INT64:
            continue
        if ranges and ranges[-1][1] == value - 1:
            ranges[-1] = ranges[-1][0], value
        else:
            ranges.append((value, value))
    return tuple(ranges)
