"""How Python's cycle collector is kept from stopping the server.

A full collection looks at every object: 0.27 s with 1,000 agents connected, every few seconds under load, to
find a few dozen. Here what has survived one is not looked at again for an hour, so that each looks at what
is new; an object in no cycle goes as always, when nothing refers to it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import Final

from stream_server import clock

_OLDEST_GENERATION: Final = 2
_LOOK_AGAIN_SECONDS: Final = 3600.0


class Survivors:
    """A callback of `gc.callbacks`: sets aside what a full collection leaves, for an hour."""

    def __init__(self, now_seconds: Callable[[], float] = clock.monotonic_seconds) -> None:
        self._now_seconds = now_seconds
        self._all_looked_at_seconds = now_seconds()

    def __call__(self, phase: str, info: Mapping[str, int]) -> None:
        """What the collector calls at the start and at the stop of each collection."""
        if info["generation"] != _OLDEST_GENERATION:
            return
        if phase == "stop":
            gc.freeze()
        elif self._now_seconds() >= self._all_looked_at_seconds + _LOOK_AGAIN_SECONDS:
            self._all_looked_at_seconds = self._now_seconds()
            gc.unfreeze()


def keep_pauses_short() -> None:
    """For the process, from now on."""
    if not any(isinstance(callback, Survivors) for callback in gc.callbacks):
        gc.callbacks.append(Survivors())
    gc.collect()
