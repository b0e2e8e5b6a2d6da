"""When a relay runs in a circle: own frames come back from others, or what is relayed runs away.

A loop, or both buses have nodes with the same ids: nothing is sent until an operator activates again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from can_stream.frames.batches import FrameBatch, FrameFlag
from edge_agent.relay.burst import frame_keys

WINDOW_NS: Final = 1_000_000_000
# So many own frames that others send within the window are a loop.
MOST_RETURNED: Final = 20
# No bus carries more in a second; beyond it the oldest are forgotten.
MAX_OWN: Final = 32_768
# So many ids that were put on a bus tell at a glance what cannot have come back.
MOST_IDS: Final = 4_096
BASE_NS: Final = 10 * WINDOW_NS
GROWTH: Final = 3
LEAST_FRAMES: Final = 100
# Of `max_live_bus_load`, which is never passed: so much is used of it where frames wait for it.
REACHED: Final = 0.9
# A circle that is closed before the base is known: as often each content is sent within the window.
REPEATED: Final = 1.5
_STEP_NS: Final = WINDOW_NS // 10
_NOT_OTHERS: Final = int(FrameFlag.TX | FrameFlag.ERROR)


class OwnOnBus:
    """What was put on a bus within the last second, by content. Each is found once: others repeat theirs."""

    def __init__(self) -> None:
        self._times: dict[bytes, deque[int]] = {}
        self._order: deque[tuple[int, Sequence[bytes]]] = deque()
        self._count = 0

    def __len__(self) -> int:
        return len(self._times)

    def put(self, keys: Sequence[bytes], now_ns: int) -> None:
        """These are put there now."""
        self.forget(now_ns)
        self._order.append((now_ns, keys))
        self._count += len(keys)
        for key in keys:
            times = self._times.get(key)
            if times is None:
                self._times[key] = deque((now_ns,))
            else:
                times.append(now_ns)

    def find(self, key: bytes) -> bool:
        """Whether one of this content was put there, and not found yet. To be asked after `forget`."""
        times = self._times.get(key)
        if times is None:
            return False
        times.popleft()
        self._drop_empty(key, times)
        return True

    def forget(self, now_ns: int) -> None:
        """What was put there longer ago."""
        while self._order and (self._order[0][0] <= now_ns - WINDOW_NS or self._count > MAX_OWN):
            put_ns, keys = self._order.popleft()
            self._count -= len(keys)
            for key in keys:
                times = self._times.get(key)
                if times and times[0] <= put_ns:
                    times.popleft()
                    self._drop_empty(key, times)

    def _drop_empty(self, key: bytes, times: deque[int]) -> None:
        if not times:
            del self._times[key]


class Growth:
    """How much is relayed within a second, against the highest of the first 10 s from the first frame on.

    `load`: the share of the time of the bus that the frames of the last second take, at their worst.
    """

    def __init__(self) -> None:
        self.load = 0.0
        self.frames = 0
        self._busy_ns = 0
        self._steps: deque[tuple[int, int, int]] = deque()
        self._first_ns: int | None = None
        self._base: list[tuple[int, int]] = []

    def add(self, frames: int, busy_ns: int, now_ns: int) -> None:
        """So many are put on the bus now, and take so long."""
        if self._first_ns is None:
            self._first_ns = now_ns
        step = now_ns // _STEP_NS
        self.frames += frames
        self._busy_ns += busy_ns
        if self._steps and self._steps[-1][0] == step:
            _, more, longer = self._steps.pop()
            frames, busy_ns = frames + more, busy_ns + longer
        elif WINDOW_NS <= now_ns - self._first_ns <= BASE_NS:
            self._base.append((now_ns - self._first_ns, self.frames - frames))
        self._steps.append((step, frames, busy_ns))
        while self._steps[0][0] <= step - WINDOW_NS // _STEP_NS:
            _, gone, shorter = self._steps.popleft()
            self.frames, self._busy_ns = self.frames - gone, self._busy_ns - shorter
        self.load = self._busy_ns / WINDOW_NS

    def has_grown(self, distinct: int, now_ns: int) -> bool:
        """Whether it has run away. `distinct`: how many contents the frames of the last second have.

        Until the base is known what was at a third of the time counts, where frames repeat themselves: by
        then a circle that was closed meanwhile would be its own base.
        """
        age_ns = 0 if self._first_ns is None else now_ns - self._first_ns
        is_young = age_ns < BASE_NS + 2 * WINDOW_NS
        counted = [frames for at_ns, frames in self._base if not is_young or at_ns <= age_ns // 3]
        if is_young and (not counted or self.frames < REPEATED * distinct):
            return False
        return self.frames >= max(GROWTH * max(counted, default=0), LEAST_FRAMES)


class LoopWatch:
    """Of one bus that a group's other side may write to; times are CLOCK_BOOTTIME.

    `found`: "loop: " and what was seen, for the rest of the activation; "" where there is none.
    """

    def __init__(self, max_live_bus_load: float, looped: str, keep: Callable[[str], None]) -> None:
        """`looped`: the last activation for which a loop was found; `keep` is called with another one."""
        self.found = ""
        self._activation = ""
        self._max_load = max_live_bus_load
        self._looped = looped
        self._keep = keep
        self._clear()

    def begin(self, activation: str) -> None:
        """What follows is relayed for this activation. The same one again changes nothing."""
        if activation != self._activation:
            self._activation = activation
            self._clear()
            self.found = "loop: found earlier in this activation" if activation == self._looped else ""

    def put(self, frames: FrameBatch, keys: Sequence[bytes], busy_ns: int, now_ns: int) -> None:
        """These were written for the group, and take the bus so long at their worst. `keys`: `frame_keys`."""
        self._own.put(keys, now_ns)
        if len(self._ids) <= MOST_IDS:
            self._ids.update(frames.arbitration_id.tolist())
        growth = self._growth
        growth.add(len(frames), busy_ns, now_ns)
        if growth.load >= REACHED * self._max_load and growth.has_grown(len(self._own), now_ns):
            self._find(f"what is relayed has grown to {growth.frames} frames/s, all that the bus may take")

    def hear(self, frames: FrameBatch, now_ns: int) -> bool:
        """What was read from the bus; whether it shows a loop that was not known."""
        if self.found or not len(self._own):
            return False
        rows = self._suspects(frames)
        if not rows:
            return False
        others = frames if len(rows) == len(frames) else frames[np.array(rows, np.intp)]
        self._own.forget(now_ns)
        self._returned.extend(now_ns for key in frame_keys(others) if self._own.find(key))
        while self._returned and self._returned[0] <= now_ns - WINDOW_NS:
            self._returned.popleft()
        if len(self._returned) < MOST_RETURNED:
            return False
        self._find(f"{MOST_RETURNED} frames that were put on this bus came back from others within 1 s")
        return True

    def _suspects(self, frames: FrameBatch) -> list[int]:
        """The rows that others have sent, with ids that were put on the bus."""
        ids, flags = frames.arbitration_id.tolist(), frames.flags.tolist()
        if len(self._ids) > MOST_IDS:
            return [row for row, one in enumerate(flags) if not one & _NOT_OTHERS]
        known = self._ids
        if known.isdisjoint(ids):
            return []
        return [row for row, one in enumerate(ids) if one in known and not flags[row] & _NOT_OTHERS]

    def _find(self, what: str) -> None:
        if not self.found:
            self.found = f"loop: {what}"
            self._looped = self._activation
            self._keep(self._activation)

    def _clear(self) -> None:
        self._own = OwnOnBus()
        self._ids: set[int] = set()
        self._growth = Growth()
        self._returned: deque[int] = deque(maxlen=MOST_RETURNED)
