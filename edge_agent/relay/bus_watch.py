"""Whether others speak on a bus: one that sleeps is left asleep."""

from __future__ import annotations

from typing import Final

from can_stream.frames.batches import FrameBatch, FrameFlag

_TX: Final = int(FrameFlag.TX)
_NOT_OTHERS: Final = int(FrameFlag.TX | FrameFlag.ERROR)


class BusWatch:
    """Of one bus, on CLOCK_BOOTTIME. `wake`: whether the configuration lets it be woken."""

    def __init__(self, asleep_after_seconds: float, *, wake: bool) -> None:
        self._patience_ns = round(asleep_after_seconds * 1e9)
        self._wake = wake
        self._heard_ns: int | None = None

    def hear(self, frames: FrameBatch, now_ns: int) -> bool:
        """What was read now; whether frames of our own are among it. Those prove nobody awake."""
        kinds = set(frames.flags.tolist())
        if any(not kind & _NOT_OTHERS for kind in kinds):
            self._heard_ns = now_ns
        return any(kind & _TX for kind in kinds)

    def is_asleep(self, now_ns: int) -> bool:
        """Nobody has said anything for a while, or since the start."""
        if self._wake:
            return False
        return self._heard_ns is None or now_ns - self._heard_ns > self._patience_ns
