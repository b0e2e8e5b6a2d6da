"""cantools' messages as the messages of a signal table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from can_stream.databases.findings import Findings
from can_stream.databases.locating import Locator
from can_stream.signals.checking import problem_of
from can_stream.signals.exact import scaled
from can_stream.signals.model import Encoding, MessageModel, SignalModel

if TYPE_CHECKING:
    from cantools.database import Database
    from cantools.database.can import Message, Signal

_INT64: Final = 1 << 63
_ENUMERABLE_BITS: Final = 16
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


def compile_message(message: Message, *, j1939: bool, locator: Locator, findings: Findings) -> MessageModel:
    """`message` for the table; what a table cannot hold is reported and left out."""
    line = locator.line(dbc_id_of(message), message.name)
    if message.is_container:
        findings.warn(line, "unsupported", f"{message.name} is a container: its contents are not decoded")
    signals = [] if message.is_container else _supported(message, locator, findings)
    number = {signal.name: index for index, signal in reversed(list(enumerate(signals)))}
    models = [_signal_model(signal) for signal in signals]
    placed = [
        _with_selector(model, signal, number, models) for model, signal in zip(models, signals, strict=True)
    ]
    extended = bool(message.is_extended_frame)
    by_pgn = extended and (j1939 or message.protocol == _J1939)
    return MessageModel(message.name, message.frame_id, extended, by_pgn, message.length, tuple(placed))


def _supported(message: Message, locator: Locator, findings: Findings) -> list[Signal]:
    """The signals that a table can hold and whose multiplexers are all there, in cantools' order."""
    dbc_id = dbc_id_of(message)
    fitting = []
    for signal in message.signals:
        problem = _problem_of(signal)
        if problem:
            line = locator.line(dbc_id, message.name, signal.name)
            findings.error(line, "unsupported", f"{message.name}.{signal.name} is not decoded: {problem}")
        else:
            fitting.append(signal)
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
            line = locator.line(dbc_id, message.name, signal.name)
            findings.warn(
                line,
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
    return problem_of(_signal_model(signal))


def _signal_model(signal: Signal) -> SignalModel:
    conversion = signal.conversion
    encoding = Encoding.SIGNED if signal.is_signed else Encoding.UNSIGNED
    start = signal.start
    if signal.byte_order == "big_endian":
        start += 7 - 2 * (start % 8)
    named: Iterable[tuple[int, object]] = (conversion.choices or {}).items()
    choices = {value: str(name) for value, name in named if -_INT64 <= value < 2 * _INT64}
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


def _with_selector(
    model: SignalModel, signal: Signal, number: dict[str, int], models: list[SignalModel]
) -> SignalModel:
    if signal.multiplexer_signal is None:
        return model
    selector = number[signal.multiplexer_signal]
    values = _raw_values(models[selector], signal.multiplexer_ids or ())
    changed = {field: getattr(model, field) for field in model.__struct_fields__}
    return SignalModel(**{**changed, "selector": selector, "ranges": _ranges(values)})


def _raw_values(selector: SignalModel, wanted: Iterable[int]) -> Iterable[int]:
    """The raw values that stand for `wanted`: cantools compares the scaled value, cut to an integer."""
    if (selector.scale == 1 and selector.offset == 0) or selector.length > _ENUMERABLE_BITS:
        return wanted
    chosen = set(wanted)
    low, high = selector.raw_limits
    return (raw for raw in range(low, high + 1) if int(scaled(selector, raw)) in chosen)


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
