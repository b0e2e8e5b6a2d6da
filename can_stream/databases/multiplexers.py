"""What multiplexers and the signals below them say that may not mean what it seems to."""

from __future__ import annotations

import math
from collections.abc import Callable

from can_stream.databases.findings import Findings
from can_stream.signals.model import MessageModel, SignalModel


def check_scaling(message: MessageModel, line_of: Callable[[int], int], findings: Findings) -> None:
    """Factors and offsets that are no numbers; `line_of`: the line of a signal, by index."""
    selectors = {signal.selector for signal in message.signals if signal.selector >= 0}
    for index, signal in enumerate(message.signals):
        if math.isfinite(signal.scale) and math.isfinite(signal.offset):
            continue
        name = f"{message.name}.{signal.name}"
        if index in selectors:
            said = "is a multiplexer whose factor or offset is no finite number: only its raw value is used"
            findings.error(line_of(index), "not_finite", f"{name} {said}")
        else:
            said = "its factor or offset is no finite number: its values are Infinity or NaN"
            findings.warn(line_of(index), "not_finite", f"{name}: {said}")


def check_multiplexers(message: MessageModel, line_of: Callable[[int], int], findings: Findings) -> None:
    """Multiplexers with a factor or an offset, and values that a multiplexer cannot have.

    `line_of`: the line of a signal, by index.
    """
    selectors = {signal.selector for signal in message.signals if signal.selector >= 0}
    for at in sorted(selectors):
        selector = message.signals[at]
        is_finite = math.isfinite(selector.scale) and math.isfinite(selector.offset)
        if is_finite and (selector.scale, selector.offset) != (1, 0):
            findings.warn(
                line_of(at),
                "scaled_multiplexer",
                f"{message.name}.{selector.name} is a multiplexer with factor or offset: it picks by its "
                "raw value, as the file describes it; cantools compares the scaled value and shows others",
            )
    for index, signal in enumerate(message.signals):
        if signal.selector >= 0 and (beyond := _beyond(signal, message.signals[signal.selector])):
            selector = message.signals[signal.selector]
            findings.warn(
                line_of(index),
                "unreachable",
                f"{message.name}.{signal.name} is {beyond}: its multiplexer {selector.name} has "
                f"{selector.length} bits, {_shown(selector.raw_limits)}",
            )


def _beyond(signal: SignalModel, selector: SignalModel) -> str:
    """How often a signal is picked by values that its multiplexer cannot have, "" where by none."""
    low, high = selector.raw_limits
    outside = [span for span in signal.ranges if span[0] < low or span[1] > high]
    if not outside:
        return ""
    never = all(last < low or first > high for first, last in signal.ranges)
    values = ", ".join(_shown(span) for span in outside[:5])
    return f"never there, for {values} picks it" if never else f"not there for {values}"


def _shown(span: tuple[int, int]) -> str:
    return str(span[0]) if span[0] == span[1] else f"{span[0]} to {span[1]}"
