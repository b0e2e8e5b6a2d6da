"""Whether the gates of the configuration hold, by what others say on the buses of this gateway.

What is not known permits nothing: no value yet, one that is too old or cannot be decoded, a signal that the
databases do not have, or have twice. Times are `_ns` of CLOCK_BOOTTIME.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import numpy as np
from msgspec import Struct

from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.signals.decoded import numbers_of
from can_stream.signals.evaluate import decode
from can_stream.signals.table import SignalTable
from edge_agent.config.gates import GateEntry

# An own echo proves nothing: whoever may send could open its own gate.
_NO_WORD: Final = int(FrameFlag.TX | FrameFlag.ERROR | FrameFlag.REMOTE)


class _Value(Struct, frozen=True):
    """What a frame said that was read at `born_ns` at the earliest."""

    number: int | float
    born_ns: int


class BusValues:
    """The newest values of those signals of one bus that gates name."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._whole: SignalTable | None = None
        self._table: SignalTable | None = None
        self._ids: np.ndarray[tuple[int], np.dtype[np.uint32]] | None = None
        self._signals: dict[int, str] = {}
        self._values: dict[str, _Value] = {}
        self._missing: dict[str, str] = {}

    def use(self, table: SignalTable | None) -> None:
        """Decodes by this; what others said by an earlier one is not known any more."""
        if table is self._whole:
            return
        self._whole, self._table, self._ids = table, None, None
        self._signals, self._values, self._missing = {}, {}, {}
        if table is not None:
            self._choose(table)

    def _choose(self, table: SignalTable) -> None:
        counts = Counter(signal_names(table))
        for name in self._names:
            if counts[name] != 1:
                self._missing[name] = (
                    f"is {counts[name]} times in its databases"
                    if counts[name]
                    else "is in none of its databases"
                )
        wanted = {name.partition(".")[0] for name in self._names - self._missing.keys()}
        chosen = [message for message in table.messages if message.name in wanted]
        ids = {(one.arbitration_id, one.is_extended) for one in chosen}
        if not any(message.by_pgn for message in chosen):
            # With those of the same id: which of them a frame is, is for the whole table to say.
            table = SignalTable(
                one
                for one in table.messages
                if (one.arbitration_id, one.is_extended) in ids and not one.by_pgn
            )
            self._ids = np.array(sorted({arbitration_id for arbitration_id, _ in ids}), np.uint32)
        self._table = table if chosen else None
        self._signals = {
            at: name
            for at, name in enumerate(signal_names(table))
            if name in self._names and name not in self._missing
        }

    def hear(self, frames: FrameBatch, born_ns: int) -> None:
        """What was read, none of it before `born_ns`; 0 where nobody knows."""
        if self._table is None:
            return
        of_others = (frames.flags & _NO_WORD) == 0
        if self._ids is not None:
            of_others &= np.isin(frames.arbitration_id, self._ids)
        if not of_others.any():
            return
        decoded = decode(self._table, frames[of_others])
        numbers = numbers_of(decoded.kind, decoded.bits)
        for signal, name in self._signals.items():
            said = (decoded.signal == signal).nonzero()[0]
            unread = decoded.undecoded_row[decoded.undecoded_signal == signal]
            last = int(decoded.row[said[-1]]) if len(said) else -1
            if len(unread) and int(unread[-1]) >= last:
                self._values.pop(name, None)
            elif last >= 0:
                self._values[name] = _Value(numbers[int(said[-1])], born_ns)

    def forbids(self, gate: GateEntry, now_ns: int) -> str:
        """Why this gate does not hold, "" where it does."""
        if self._whole is None:
            return "is not known: its databases are not loaded"
        if gate.signal in self._missing:
            return f"is not known: it {self._missing[gate.signal]}"
        value = self._values.get(gate.signal)
        if value is None:
            return "is not known: no frame of others has said it yet"
        if value.born_ns <= 0 or not 0 <= now_ns - value.born_ns <= gate.fresh_seconds * 1e9:
            return f"is not known: nothing newer than {gate.fresh_seconds:g} s says it"
        return "" if gate.permits(value.number) else f"is {value.number:g}, and must be {gate.bounds}"


class Gates:
    """All that gates name, bus by bus."""

    def __init__(self, gates: Iterable[GateEntry]) -> None:
        names: dict[str, set[str]] = {}
        for gate in gates:
            names.setdefault(gate.dongle or "", set()).add(gate.signal)
        self.buses: Final[Mapping[str, BusValues]] = {one: BusValues(said) for one, said in names.items()}

    def closed(self, gates: Iterable[GateEntry], now_ns: int) -> str:
        """What the first of these that does not hold lacks, "" where all hold. They are among those given."""
        for gate in gates:
            why = self.buses[gate.dongle or ""].forbids(gate, now_ns)
            if why:
                return f"{gate.signal} of {gate.dongle} {why}"
        return ""


def signal_names(table: SignalTable) -> Iterable[str]:
    """`MESSAGE.SIGNAL`, in the order of the table."""
    for message in table.messages:
        yield from (f"{message.name}.{signal.name}" for signal in message.signals)
