"""Which decoded values a signals lane carries: those that changed, or what `[[dongles.signals]]` says.

Time is that of the frames, so that a log gives the same values whenever and in whatever pieces it is played.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.signals.changes import ChangeFilter
from can_stream.signals.decoded import Decoded, numbers_of
from can_stream.signals.table import SignalTable
from edge_agent.config.signal_rules import SignalRule, rule_of

_NEVER_NS: Final = 2**63 - 1
_NO_ROWS: Final = np.zeros(0, np.intp)
# A step back of the frames' clock by more than this is a clock that was set, not frames out of order.
_CLOCK_SET_NS: Final = 1_000_000_000


class _Value(NamedTuple):
    timestamp_ns: int
    kind: int
    bits: int
    number: int | float


# The row of the frame that let it go, the signal, the value.
_Found: TypeAlias = tuple[int, int, _Value]


class _Track(Struct):
    """What is known of a signal that has a rule: `sent` last, at `sent_ns`; `held` waits for its time."""

    deadband: float
    minimum_ns: int
    maximum_ns: int | None
    sent: _Value | None = None
    sent_ns: int = 0
    held: _Value | None = None

    def rests(self, now_ns: int) -> bool:
        """Whether the minimum period since the last value is not over; a clock set back ends it."""
        return 0 <= now_ns - self.sent_ns < self.minimum_ns

    def is_overdue(self, now_ns: int) -> bool:
        """Whether even the old value is due again; also where nobody can know, after a clock was set back."""
        elapsed_ns = now_ns - self.sent_ns
        return self.maximum_ns is not None and not -_CLOCK_SET_NS <= elapsed_ns < self.maximum_ns

    def differs(self, value: _Value) -> bool:
        """Whether a value is news."""
        before = self.sent
        if before is None or (value.bits, value.kind) == (before.bits, before.kind):
            return before is None
        distance = abs(value.number - before.number)
        return not distance <= self.deadband  # NaN against a number is news

    def send(self, value: _Value, now_ns: int) -> _Value:
        self.sent, self.sent_ns, self.held = value, now_ns, None
        return value


class SignalSelection:
    """The rules of one bus, applied to its values in order. The first rule that matches a signal counts."""

    def __init__(self, table: SignalTable, rules: Sequence[SignalRule]) -> None:
        self._table = table
        self._changes = ChangeFilter(table)
        chosen = [rule_of(name, rules) for name in _names(table)]
        self._sends = np.array([rule is None or rule.send for rule in chosen], np.bool_)
        self._sends_all = bool(self._sends.all())
        self._tracks = {
            signal: _Track(
                rule.deadband,
                int(rule.minimum_period_seconds * 1e9),
                None if rule.maximum_period_seconds is None else int(rule.maximum_period_seconds * 1e9),
            )
            for signal, rule in enumerate(chosen)
            if rule is not None and rule.send and not rule.is_every_change
        }
        self._is_tracked = np.zeros(len(chosen), np.bool_)
        self._is_tracked[list(self._tracks)] = True
        self._due_ns = np.full(len(chosen), _NEVER_NS, np.int64)
        for signal, track in self._tracks.items():
            if track.maximum_ns is not None:
                self._due_ns[signal] = -_NEVER_NS
        self._held: set[int] = set()
        self._latest_ns = -_NEVER_NS

    @property
    def holds_back(self) -> bool:
        """Whether values wait for the end of a minimum period: ask `expire` as time goes on."""
        return bool(self._held)

    def take_decoded(self, decoded: Decoded, frames: FrameBatch) -> SignalBatch:
        """What to send of the values of `frames`, with older values whose time has come."""
        keep = self._changes.changed(decoded)
        if not self._sends_all:
            keep &= self._sends.take(decoded.signal)
        if not self._tracks or not len(frames):
            return decoded.signal_batch(frames, keep)
        self._notice_clock(frames)
        tracked = self._is_tracked.take(decoded.signal)
        times = frames.timestamp_ns.take(decoded.row)
        judged = (tracked & (keep | (times >= self._due_ns.take(decoded.signal)))).nonzero()[0]
        found = [*self._judge(decoded, times, judged, keep)] if len(judged) else []
        found += [(len(frames), *late) for late in self._released(self._latest_ns)]
        keep &= ~tracked
        return _together(decoded.signal_batch(frames, keep), decoded.row[keep], found)

    def expire(self, now_ns: int) -> SignalBatch:
        """Values held back whose minimum period is over at this time of the frames' clock."""
        nothing = SignalBatch(
            self._table.hash,
            np.zeros(0, np.int64),
            np.zeros(0, np.uint32),
            np.zeros(0, np.uint8),
            np.zeros(0, np.uint64),
        )
        return _together(nothing, _NO_ROWS, [(0, *late) for late in self._released(now_ns)])

    def finish(self) -> SignalBatch:
        """Everything held back, at the end of a log or of the agent."""
        return self.expire(_NEVER_NS)

    def _notice_clock(self, frames: FrameBatch) -> None:
        if int(frames.timestamp_ns[0]) < self._latest_ns - _CLOCK_SET_NS:
            self._due_ns[self._due_ns != _NEVER_NS] = -_NEVER_NS
            self._latest_ns = -_NEVER_NS
        self._latest_ns = max(self._latest_ns, int(frames.timestamp_ns.max()))

    def _judge(
        self,
        decoded: Decoded,
        times: NDArray[np.int64],
        judged: NDArray[np.intp],
        changed: NDArray[np.bool_],
    ) -> Iterator[_Found]:
        kind, bits = decoded.kind[judged], decoded.bits[judged]
        values = map(_Value, times[judged].tolist(), kind.tolist(), bits.tolist(), numbers_of(kind, bits))
        rows, signals = decoded.row[judged].tolist(), decoded.signal[judged].tolist()
        for row, signal, value, is_change in zip(
            rows, signals, values, changed[judged].tolist(), strict=True
        ):
            track, now_ns = self._tracks[signal], value.timestamp_ns
            if track.held is not None and not track.rests(now_ns):
                yield row, signal, self._send(signal, track.held, track.sent_ns + track.minimum_ns)
            is_overdue = track.is_overdue(now_ns)
            if not is_change and not is_overdue:
                continue
            if not track.differs(value) and not is_overdue:
                track.held = None
                self._held.discard(signal)
            elif track.sent is not None and track.rests(now_ns):
                track.held = value
                self._held.add(signal)
            else:
                yield row, signal, self._send(signal, value, now_ns)

    def _released(self, now_ns: int) -> Iterator[tuple[int, _Value]]:
        for signal in sorted(self._held):
            track = self._tracks[signal]
            if track.held is not None and not track.rests(now_ns):
                yield signal, self._send(signal, track.held, track.sent_ns + track.minimum_ns)

    def _send(self, signal: int, value: _Value, now_ns: int) -> _Value:
        track = self._tracks[signal]
        self._held.discard(signal)
        if track.maximum_ns is not None:
            self._due_ns[signal] = now_ns + track.maximum_ns
        return track.send(value, now_ns)


def _together(batch: SignalBatch, rows: NDArray[np.intp], found: list[_Found]) -> SignalBatch:
    """`batch`, whose values come from these rows, with what was found at others, in order of the frames."""
    if not found:
        return batch
    found_rows, signals, values = zip(*found, strict=True)
    order = np.concatenate([rows, np.array(found_rows, np.intp)]).argsort(kind="stable")
    times, kinds, bits, _ = zip(*values, strict=True)
    return SignalBatch(
        batch.table_hash,
        np.concatenate([batch.timestamp_ns, np.array(times, np.int64)])[order],
        np.concatenate([batch.signal, np.array(signals, np.uint32)])[order],
        np.concatenate([batch.kind, np.array(kinds, np.uint8)])[order],
        np.concatenate([batch.bits, np.array(bits, np.uint64)])[order],
    )


def _names(table: SignalTable) -> Iterator[str]:
    for message in table.messages:
        yield from (f"{message.name}.{signal.name}" for signal in message.signals)
