"""The books of one BLF file: objects become blocks of frames and counts, held against its header's count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from can_stream.errors import LineError
from can_stream.logs.formats.binary.blf_frames import FRAME_KINDS, REASONS, REQUESTS, BlfFrames, frames_of
from can_stream.logs.formats.binary.blf_objects import RESTORE_POINT, Objects, Places, kind_name
from can_stream.logs.log_blocks import (
    MAX_CHANNELS,
    MAX_PROBLEMS,
    ChannelNames,
    Fault,
    LogBatch,
    ParsedBlock,
    empty_log_batch,
)

_UNKNOWN, _REFUSED = -1, -2
_HIGHEST_CHANNEL: Final = 0xFFFF
_NO_NAME: Final = f"more than {MAX_CHANNELS} channels"


class BlfBooks:
    """`start_ns`: what times count from, a date in local time if `is_local`.

    `promised`: how many objects there are by the header, 0 where it does not say.
    """

    def __init__(self) -> None:
        self.start_ns = 0
        self.is_local = False
        self.promised = 0
        self.names: Final = ChannelNames()
        self._seen = 0
        self._has_fault = False
        self._numbers: Final = np.full(_HIGHEST_CHANNEL + 1, _UNKNOWN, np.int64)

    def block(self, objects: Objects, place: Callable[[int], int]) -> ParsedBlock:
        """The frames of `objects`; `place` tells where in the file a byte of theirs is, or its container."""
        found = frames_of(objects, self.start_ns)
        number = self._number(found.channel)
        named = number >= 0
        refused = int(len(named) - named.sum())
        batch = LogBatch(found.frames, number.astype(np.uint16))
        if refused:
            batch = LogBatch(found.frames[named], number[named].astype(np.uint16))
        faults = _faults(objects, found, place)
        faults += [Fault(None, _NO_NAME)] * min(refused, MAX_PROBLEMS)
        self._seen += len(objects) - int((objects.kind == RESTORE_POINT).sum())
        self._has_fault |= bool(faults)
        unreadable = int((found.why > 0).sum()) + refused
        others = _others(objects, found)
        return ParsedBlock(
            batch, len(objects), others, unreadable, tuple(faults[:MAX_PROBLEMS]), is_local=self.is_local
        )

    def damage(self, reason: str, place: int | None, *, is_cut: bool = False) -> ParsedBlock:
        """One place that cannot be read. It may have held any number of objects."""
        self._has_fault = True
        if self.promised:
            reason += f" (the header counts {self.promised} objects in all)"
        fault = Fault(None, reason, offset=place)
        return ParsedBlock(empty_log_batch(), 1, unreadable=1, faults=(fault,), is_cut=is_cut)

    def further(self) -> ParsedBlock:
        """The header of another log, whose objects are counted by themselves."""
        self.promised = self._seen = 0
        self._has_fault = False
        return ParsedBlock(empty_log_batch(), 1, {"headers of further logs": 1})

    def end(self) -> ParsedBlock | None:
        """What is to be said where the file has ended as it should."""
        if self._seen >= self.promised:
            return None
        if self._has_fault:
            return ParsedBlock(empty_log_batch(), is_cut=True)
        return self.damage(f"the file ends after {self._seen} objects", None, is_cut=True)

    def _number(self, channel: NDArray[np.uint16]) -> Places:
        """Channel 1 of the file is `can0`, as is 0; -2 where there are too many."""
        index = np.maximum(channel, np.uint16(1)) - np.uint16(1)
        if len(index) and (index == index[0]).all() and (one := self._numbers[index[0]]) >= 0:
            return np.broadcast_to(one, len(index))
        number: Places = self._numbers[index]
        while (unknown := number == _UNKNOWN).any():
            first = int(index[np.argmax(unknown)])
            try:
                self._numbers[first] = self.names.number(f"can{first}")
            except LineError:
                self._numbers[first] = _REFUSED
            number = self._numbers[index]
        return number


def _faults(objects: Objects, found: BlfFrames, place: Callable[[int], int]) -> list[Fault]:
    rows = np.flatnonzero(found.why)[:MAX_PROBLEMS].tolist()
    return [
        Fault(
            None,
            f"an object of type {objects.kind[row]} is no CAN frame: {REASONS[found.why[row]]}",
            offset=place(int(objects.at[row])),
        )
        for row in rows
    ]


def _others(objects: Objects, found: BlfFrames) -> dict[str, int]:
    others = Counter({REQUESTS: found.requests} if found.requests else {})
    if len(found.frames) < len(objects):
        kinds, counts = np.unique(objects.kind, return_counts=True)
        for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
            if kind not in FRAME_KINDS:
                others[kind_name(kind)] += count
    return dict(others)
