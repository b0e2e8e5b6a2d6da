"""One dongle's signals: its databases' table, the rules on its values, and its signals lane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from msgspec import Struct

from can_stream.frames.batches import EXTENDED_ID_MASK, FrameBatch, FrameFlag, SignalBatch
from can_stream.lanes.sender import LaneSender
from can_stream.protocol.packet_head import MAX_ROWS
from can_stream.signals.evaluate import decode
from can_stream.signals.table import SignalTable
from edge_agent.config.signal_rules import SignalRule
from edge_agent.decoding.signal_selection import SignalSelection
from edge_agent.lanes.gate import LaneGate

# On a bus of random ids every one of them would be a discovery.
MAX_UNKNOWN_IDS: Final = 256
_ERROR: Final = np.uint8(FrameFlag.ERROR)
_EXTENDED: Final = np.uint8(FrameFlag.EXTENDED)
_EXTENDED_BIT: Final = 29


class DecoderCounts(Struct):
    """Since the start: frames of known and unknown messages, undecodable signals, values sent."""

    frames_known: int = 0
    frames_unknown: int = 0
    signals_undecoded: int = 0
    values_sent: int = 0


class Decoder:
    """Decodes every frame of a bus and feeds its signals lane; nothing until it is given a table.

    `on_unknown` is called once for each (arbitration id, is extended) that a table does not know.
    """

    def __init__(self, lane: LaneSender, on_unknown: Callable[[int, bool], object] = lambda *_: None) -> None:
        self.lane = lane
        self.gate = LaneGate(lane)
        self.counts = DecoderCounts()
        self.table: SignalTable | None = None
        self._on_unknown = on_unknown
        self._selection: SignalSelection | None = None
        self._unknown: set[int] = set()
        self._clock_ns: tuple[int, float] | None = None

    def use(self, table: SignalTable | None, rules: Sequence[SignalRule], now_seconds: float) -> None:
        """Decodes by this table and these rules from now on; every signal's next value counts as new."""
        self.finish(now_seconds)
        self.table = table
        self._selection = None if table is None else SignalSelection(table, rules)

    def take_frames(self, frames: FrameBatch, now_seconds: float) -> None:
        """All frames of the bus, in order."""
        if self._selection is None or self.table is None or not len(frames):
            return
        decoded = decode(self.table, frames)
        unknown = (decoded.message < 0) & ((frames.flags & _ERROR) == 0)
        if unknown.any():
            self._note_unknown(frames[unknown])
        self.counts.frames_known += int(np.count_nonzero(decoded.message >= 0))
        self.counts.signals_undecoded += len(decoded.undecoded_row)
        self._clock_ns = int(frames.timestamp_ns[-1]), now_seconds
        self._send(self._selection.take_decoded(decoded, frames), now_seconds)

    @property
    def holds_back(self) -> bool:
        """Whether `expire` has to be asked as time goes on."""
        return self._selection is not None and self._selection.holds_back

    def expire(self, now_seconds: float) -> None:
        """Sends what a minimum period held back, by the frames' clock as it has gone on since."""
        if self._selection is not None and self._clock_ns is not None:
            frame_ns, at_seconds = self._clock_ns
            self._send(self._selection.expire(frame_ns + int((now_seconds - at_seconds) * 1e9)), now_seconds)

    def finish(self, now_seconds: float) -> None:
        """Sends all that is held back."""
        if self._selection is not None:
            self._send(self._selection.finish(), now_seconds)

    def _send(self, values: SignalBatch, now_seconds: float) -> None:
        self.counts.values_sent += len(values)
        for begin in range(0, len(values), MAX_ROWS):
            self.gate.pass_on(values[begin : begin + MAX_ROWS], now_seconds)

    def _note_unknown(self, frames: FrameBatch) -> None:
        self.counts.frames_unknown += len(frames)
        if len(self._unknown) >= MAX_UNKNOWN_IDS:
            return
        extended = (frames.flags & _EXTENDED).astype(np.uint32)
        keys = frames.arbitration_id | (extended << np.uint32(_EXTENDED_BIT))
        for key in sorted(set(keys.tolist()) - self._unknown)[: MAX_UNKNOWN_IDS - len(self._unknown)]:
            self._unknown.add(key)
            self._on_unknown(key & EXTENDED_ID_MASK, bool(key >> _EXTENDED_BIT))
