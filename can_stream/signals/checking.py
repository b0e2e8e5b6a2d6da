"""The limits of a signal table, checked before anything is built from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from can_stream.frames.batches import EXTENDED_ID_MASK, STANDARD_ID_MASK
from can_stream.signals.errors import TableError
from can_stream.signals.exact import FLOAT_FORMATS
from can_stream.signals.model import Encoding, MessageModel, SignalModel

MAX_MESSAGES: Final = 1 << 16
MAX_SIGNALS: Final = 1 << 18
MAX_BITS: Final = 1 << 16
MAX_TEXT_CHARACTERS: Final = 1024
MAX_DEPTH: Final = 16


def check_messages(messages: Sequence[MessageModel]) -> None:
    """Raises TableError where a message or signal is impossible; names it."""
    if len(messages) > MAX_MESSAGES:
        raise TableError(f"{len(messages)} messages, at most {MAX_MESSAGES} are allowed")
    signals = sum(len(message.signals) for message in messages)
    if signals > MAX_SIGNALS:
        raise TableError(f"{signals} signals, at most {MAX_SIGNALS} are allowed")
    for message in messages:
        highest = EXTENDED_ID_MASK if message.is_extended else STANDARD_ID_MASK
        if not 0 <= message.arbitration_id <= highest or (message.by_pgn and not message.is_extended):
            raise TableError(f"message {message.name!r} has the impossible id {message.arbitration_id:#x}")
        if not 0 <= message.length <= MAX_BITS // 8:
            raise TableError(f"message {message.name!r} has {message.length} bytes")
        _check_text(message.name)
        for signal in message.signals:
            problem = problem_of(signal)
            if problem:
                raise TableError(f"signal {message.name}.{signal.name}: {problem}")
        _check_selectors(message)


def problem_of(signal: SignalModel) -> str:
    """Why a table cannot hold `signal`, "" where it can."""
    if not (signal.start >= 0 and signal.length > 0 and signal.start + signal.length <= MAX_BITS):
        return f"{signal.length} bits from bit {signal.start}"
    if signal.encoding is Encoding.FLOAT and signal.length not in FLOAT_FORMATS:
        return f"a float of {signal.length} bits"
    if any(first > last for first, last in signal.ranges):
        return "an empty range of multiplexer values"
    if max(map(len, (signal.name, signal.unit, *signal.choices.values()))) > MAX_TEXT_CHARACTERS:
        return f"a text of more than {MAX_TEXT_CHARACTERS} characters"
    return ""


def _check_text(text: str) -> None:
    if len(text) > MAX_TEXT_CHARACTERS:
        raise TableError(f"a name of {len(text)} characters, at most {MAX_TEXT_CHARACTERS} are allowed")


def _check_selectors(message: MessageModel) -> None:
    """Every chain of selectors ends, at integers of at most 64 bits."""
    for signal in message.signals:
        at, depth = signal, 0
        while at.selector != -1:
            depth += 1
            if not 0 <= at.selector < len(message.signals) or depth > MAX_DEPTH:
                raise TableError(f"signal {message.name}.{signal.name}: its multiplexers lead nowhere")
            at = message.signals[at.selector]
            if at.encoding is Encoding.FLOAT or at.length > 64:
                raise TableError(f"signal {message.name}.{at.name} cannot be a multiplexer")
