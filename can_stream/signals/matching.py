"""Which message a frame is: by its exact id, else by its J1939 parameter group number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import STANDARD_ID_MASK, FrameBatch, FrameFlag
from can_stream.signals.model import MessageModel, pgn_of

UNKNOWN: Final = -1
_EXTENDED: Final = int(FrameFlag.EXTENDED)
_ERROR: Final = int(FrameFlag.ERROR)


class _Lookup:
    """From key to message; the first message of a key wins."""

    def __init__(self, pairs: Iterable[tuple[int, int]]) -> None:
        first: dict[int, int] = {}
        for key, message in pairs:
            first.setdefault(key, message)
        self.keys = np.array(sorted(first), np.uint32)
        self.messages = np.array([first[key] for key in sorted(first)], np.intp)

    def __call__(self, keys: NDArray[np.uint32]) -> NDArray[np.intp]:
        if not len(self.keys):
            return np.full(len(keys), UNKNOWN, np.intp)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys.take(at) == keys, self.messages.take(at), UNKNOWN)


class Matcher:
    """Finds the messages of frames."""

    def __init__(self, messages: Sequence[MessageModel]) -> None:
        self._standard = np.full(STANDARD_ID_MASK + 1, UNKNOWN, np.intp)
        for index in reversed(range(len(messages))):
            if not messages[index].is_extended:
                self._standard[messages[index].arbitration_id] = index
        extended = [(index, message) for index, message in enumerate(messages) if message.is_extended]
        self._extended = _Lookup((message.arbitration_id, index) for index, message in extended)
        self._by_pgn = _Lookup(
            (pgn_of(message.arbitration_id), index) for index, message in extended if message.by_pgn
        )

    def match(self, batch: FrameBatch, flags: int) -> NDArray[np.intp]:
        """intp[N]: the index of each frame's message, UNKNOWN where there is none; errors have none.

        `flags`: those of all frames together.
        """
        # Of standard ids 11 bits count; the mask only guards against others.
        found = self._standard.take(batch.arbitration_id & np.uint32(STANDARD_ID_MASK))
        if flags & _EXTENDED:
            extended = (batch.flags & np.uint8(_EXTENDED)).nonzero()[0]
            found[extended] = self._match_extended(batch.arbitration_id.take(extended))
        if flags & _ERROR:
            found[(batch.flags & np.uint8(_ERROR)).nonzero()[0]] = UNKNOWN
        return found

    def _match_extended(self, ids: NDArray[np.uint32]) -> NDArray[np.intp]:
        found = self._extended(ids)
        if len(self._by_pgn.keys):
            rest = found == UNKNOWN
            pgn = (ids[rest] >> np.uint32(8)) & np.uint32(0x3FFFF)
            is_pdu1 = (pgn & np.uint32(0xFF00)) < 0xF000
            found[rest] = self._by_pgn(np.where(is_pdu1, pgn & np.uint32(0x3FF00), pgn))
        return found
