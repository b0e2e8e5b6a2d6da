"""Frames that a process, or an opening of the interface, before this one has left in the driver.

When such a frame goes out its echo comes as if somebody else had sent it: its socket is gone, and the kernel
says no more of it than that (linux/can/skb.h, can_skb_set_owner). What it was is in the record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from can_stream.frames.batches import FrameBatch, FrameFlag
from edge_agent.relay.burst import frame_keys

# A driver's queue is far shorter; more than a burst come together only where each start is killed again.
MOST_LEFT: Final = 64
# For so long what came out before the driver was known to be empty may be in no batch yet.
READ_NS: Final = 1_000_000_000
_NOT_OTHERS: Final = int(FrameFlag.TX | FrameFlag.ERROR)


class LateFrames:
    """Of one bus, by `frame_keys`. Each is an own frame once: what others send alike is taken for it once.

    `keep` is told all that may be left in the driver by this process, whenever that changes.
    """

    def __init__(
        self, left: Sequence[bytes] = (), keep: Callable[[list[bytes]], None] = lambda _: None
    ) -> None:
        self._unmarked = [*left][-MOST_LEFT:]
        self._given_up: list[bytes] = []
        self._keep = keep
        self._is_gone = False
        self._gone_ns: int | None = None

    def __bool__(self) -> bool:
        """Whether the driver may hold any."""
        return bool(self._unmarked) and not self._is_gone

    def given_up(self, keys: Sequence[bytes]) -> None:
        """All that this opening has given up: its echoes are marked, unless another one follows."""
        if self._given_up or keys:
            self._given_up = [*keys]
            self._tell()

    def leave(self, keys: Sequence[bytes]) -> None:
        """These are in the driver, and the socket that wrote them is gone."""
        before = [] if self._is_gone else self._unmarked
        self._unmarked = [*before, *keys][-MOST_LEFT:]
        self._is_gone, self._gone_ns = False, None
        self._given_up = []
        if before or keys:
            self._tell()

    def gone(self) -> None:
        """Nothing of them is in the driver any more; what came out last is read before long."""
        if self or self._given_up:
            self._is_gone, self._given_up = True, []
            self._tell()

    def marked(self, frames: FrameBatch, now_ns: int) -> FrameBatch:
        """What was read, with `FrameFlag.TX` on those of others that are no others'."""
        if not self._unmarked or self._is_over(now_ns):
            return frames
        others = (frames.flags & _NOT_OTHERS) == 0
        late = [row for row, key in enumerate(frame_keys(frames)) if others[row] and self._take(key)]
        if not late:
            return frames
        self._tell()
        flags = frames.flags.copy()
        flags[late] |= np.uint8(FrameFlag.TX)
        return FrameBatch(frames.timestamp_ns, frames.arbitration_id, flags, frames.length, frames.data)

    def _is_over(self, now_ns: int) -> bool:
        if not self._is_gone:
            return False
        if self._gone_ns is None:
            self._gone_ns = now_ns
        if now_ns - self._gone_ns <= READ_NS:
            return False
        self._unmarked = []
        return True

    def _take(self, key: bytes) -> bool:
        if key not in self._unmarked:
            return False
        self._unmarked.remove(key)
        return True

    def _tell(self) -> None:
        self._keep(([] if self._is_gone else self._unmarked) + self._given_up)
