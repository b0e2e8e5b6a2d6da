"""Simulated values in frames: which signals a frame holds, and where their bits go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.frames.batches import CLASSIC_DATA_BYTES, FD_DATA_BYTES, FD_LENGTHS, FrameBatch, FrameFlag
from can_stream.signals.layout import Index
from can_stream.signals.model import MessageModel, SignalModel
from can_stream.signals.selecting import expand
from edge_agent.simulation.values import Limits, Values, raw_range

_MAX_VARIANTS: Final = 1024
_MAX_VALUES_OF_RANGE: Final = 16


class SimulatedMessage(Struct, frozen=True):
    """A message to be sent every `cycle_seconds`, with the limits of each of its signals in their order."""

    model: MessageModel
    cycle_seconds: float
    is_fd: bool
    limits: tuple[Limits, ...]

    @property
    def needs_fd(self) -> bool:
        """Whether only a CAN FD bus can carry it."""
        return self.is_fd or self.model.length > CLASSIC_DATA_BYTES

    @property
    def fits_a_frame(self) -> bool:
        """False for what needs a transport protocol: J1939 groups of more than 8 bytes, others of 64."""
        most = FD_DATA_BYTES if self.is_fd or not self.model.by_pgn else CLASSIC_DATA_BYTES
        return self.model.length <= most


class Payloads:
    """Puts the values of all signals into frames.

    A variant is a message with one value for each of its multiplexers: a template with these values, and
    the signals that are there then.
    """

    def __init__(self, messages: Sequence[SimulatedMessage], dice: Random) -> None:
        models = [message.model for message in messages]
        sizes = [_frame_bytes(message) for message in messages]
        self._id = np.array([model.arbitration_id for model in models], np.uint32)
        self._flags = np.array([_flags(message) for message in messages], np.uint8)
        self._length = np.array(sizes, np.uint8)
        width = CLASSIC_DATA_BYTES if max(sizes, default=0) <= CLASSIC_DATA_BYTES else FD_DATA_BYTES
        self._words = width // 8
        base, entries, ends, templates, counts, repeats = 0, [], [], [], [], []
        for message, size in zip(messages, sizes, strict=True):
            variants = list(_variants(message, size))
            for template, present in variants:
                templates.append(template.ljust(width, b"\0"))
                entries += [base + index for index in present]
                ends.append(len(entries))
            counts.append(len(variants))
            repeats += [1 if one.selector < 0 else len(variants) for one in message.model.signals]
            base += len(message.model.signals)
        self._template = np.frombuffer(b"".join(templates), np.uint8).reshape(-1, width)
        self._entry = np.array(entries, np.intp)
        self._entry_end = np.array(ends, np.intp)
        self._entry_count = np.diff(self._entry_end, prepend=0)
        self._variants = np.array(counts, np.int64)
        self._first_variant = np.cumsum(self._variants) - self._variants
        # A multiplexed counter counts the rounds in which its turn comes.
        self._repeats = np.array(repeats, np.int64)
        pairs = [pair for one in messages for pair in zip(one.model.signals, one.limits, strict=True)]
        self._values = Values(pairs, dice)
        self._place([signal for signal, _ in pairs])

    def _place(self, signals: Sequence[SignalModel]) -> None:
        """Where each signal's bits go: first the words read as little-endian, then as big-endian."""
        start = np.array([signal.start for signal in signals], np.int64)
        length = np.minimum(np.array([signal.length for signal in signals], np.int64), 64)
        big = np.array([signal.big_endian for signal in signals], np.bool_)
        self._word = np.minimum(start // 64, self._words - 1) + big * self._words
        up = np.where(big, 64 - start % 64 - length, start % 64)
        # What of the signal is beyond the word, and goes into the next.
        beyond = start % 64 + length - 64
        self._crosses = beyond > 0
        self._up = np.maximum(up, 0).astype(np.uint64)
        self._down = np.where(big & self._crosses, beyond, 0).astype(np.uint64)
        self._next_up = np.where(big & self._crosses, 64 - beyond, 0).astype(np.uint64)
        self._next_down = np.where(~big & self._crosses, length - beyond, 0).astype(np.uint64)
        self._mask = np.array([(1 << int(bits)) - 1 for bits in length], np.uint64)

    def frames(self, time_ns: NDArray[np.int64], message: Index, number: NDArray[np.int64]) -> FrameBatch:
        """Each message's `number`-th frame (from 0), int64[N] like the times."""
        variant = self._first_variant[message] + number % self._variants[message]
        row, place = expand(np.arange(len(message)), self._entry_end[variant], self._entry_count[variant])
        signal = self._entry[place]
        raw = self._values.raw(signal, time_ns[row], number[row] // self._repeats[signal])
        raw &= self._mask[signal]
        words = np.zeros(len(message) * 2 * self._words, np.uint64)
        at = row * (2 * self._words) + self._word[signal]
        np.bitwise_or.at(words, at, raw >> self._down[signal] << self._up[signal])
        crossing = np.flatnonzero(self._crosses[signal])
        raw, signal = raw[crossing], signal[crossing]
        np.bitwise_or.at(words, at[crossing] + 1, raw >> self._next_down[signal] << self._next_up[signal])
        both = words.reshape(-1, 2, self._words)
        data = self._template[variant].copy()
        data |= both[:, 0].astype("<u8").view(np.uint8)
        data |= both[:, 1].astype(">u8").view(np.uint8)
        return FrameBatch(time_ns, self._id[message], self._flags[message], self._length[message], data)


def _frame_bytes(message: SimulatedMessage) -> int:
    """The message's length, or the next that a CAN FD frame can have."""
    return next(size for size in FD_LENGTHS if size >= message.model.length)


def _flags(message: SimulatedMessage) -> int:
    flags = FrameFlag.EXTENDED if message.model.is_extended else FrameFlag(0)
    return flags | FrameFlag.FD if message.needs_fd else flags


def _variants(message: SimulatedMessage, size: int) -> Iterator[tuple[bytes, list[int]]]:
    """(template, signals whose bits nothing else has) of each variant of a message of `size` bytes.

    Unused bits are 0, in J1939 messages 1 as SAE J1939-71 asks.
    """
    signals = message.model.signals
    masks = [_bits(signal, (1 << signal.length) - 1, size) for signal in signals]
    children: defaultdict[int, list[int]] = defaultdict(list)
    for index, signal in enumerate(signals):
        children[signal.selector].append(index)
    for selected in _selections(message, children, children[-1]) or [{}]:
        taken, template, present = 0, 0, []
        for selector, value in selected.items():
            if not taken & masks[selector]:
                taken |= masks[selector]
                template |= _bits(signals[selector], value, size)
        for index, signal in enumerate(signals):
            is_free = masks[index] and not taken & masks[index] and signal.length <= 64
            if is_free and index not in selected and _is_present(signal, selected):
                taken |= masks[index]
                present.append(index)
        if message.model.by_pgn:
            template |= ((1 << 8 * size) - 1) & ~taken
        yield template.to_bytes(size, "little"), present


def _selections(
    message: SimulatedMessage, children: dict[int, list[int]], present: Sequence[int]
) -> list[dict[int, int]]:
    """Values of all multiplexers among the signals `present` and below: each at least once, in step."""
    below = [
        list(islice(_selected(message, children, index), _MAX_VARIANTS))
        for index in present
        if index in children
    ]
    below = [selections for selections in below if selections]
    longest = max(map(len, below), default=0)
    return [
        {selector: value for one in below for selector, value in one[turn % len(one)].items()}
        for turn in range(longest)
    ]


def _selected(
    message: SimulatedMessage, children: dict[int, list[int]], selector: int
) -> Iterator[dict[int, int]]:
    signals = message.model.signals
    values = set(signals[selector].choices)
    for child in children[selector]:
        for first, last in signals[child].ranges:
            values.update(range(first, min(last, first + _MAX_VALUES_OF_RANGE - 1) + 1))
    low, high = raw_range(signals[selector], *message.limits[selector])
    for value in sorted(value for value in values if low <= value <= high):
        present = [child for child in children[selector] if _is_present(signals[child], {selector: value})]
        for below in _selections(message, children, present) or [{}]:
            yield {selector: value, **below}


def _is_present(signal: SignalModel, selected: dict[int, int]) -> bool:
    value = selected.get(signal.selector)
    if signal.selector < 0 or value is None:
        return signal.selector < 0
    return any(first <= value <= last for first, last in signal.ranges)


def _bits(signal: SignalModel, raw: int, size: int) -> int:
    """`raw` at the signal's place in `size` bytes as a little-endian number, 0 where it has none there."""
    above = 8 * size - signal.start - signal.length
    raw &= (1 << signal.length) - 1
    if above < 0:
        return 0
    if signal.big_endian:
        return int.from_bytes((raw << above).to_bytes(size, "big"), "little")
    return raw << signal.start
