"""Plausible traffic for the messages of databases: which frames are due when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Final

import numpy as np

from can_stream.frames.batches import FrameBatch
from edge_agent.simulation.payloads import Payloads, SimulatedMessage

# A finer pace would wake the machine for every frame.
BEAT_SECONDS: Final = 0.001
MAX_LATE_SECONDS: Final = 1.0
_MAX_CYCLE_NS: Final = 10**16
# Phases that are multiples of it (modulo 1) are evenly spread, however many there are.
_GOLDEN: Final = (math.sqrt(5) - 1) / 2


class Traffic:
    """The frames of `messages`, all of which fit a frame; the same for the same `seed`.

    Every message is due once per cycle, from somewhere in its first cycle on. With `rate` all cycles are
    multiplied by the factor that makes `rate` frames per second of all messages together.
    """

    def __init__(
        self, messages: Sequence[SimulatedMessage], rate: float | None = None, seed: int = 0
    ) -> None:
        dice = Random(seed)  # noqa: S311 - no secret: it must be the same again
        cycles = [message.cycle_seconds for message in messages]
        factor = sum(1 / cycle for cycle in cycles) / rate if rate else 1.0
        shift = dice.random()
        # Rounded up, so that no message comes faster than it may.
        self._cycle_ns: Final = np.array(
            [min(math.ceil(cycle * factor * 1e9), _MAX_CYCLE_NS) for cycle in cycles], np.int64
        )
        phase = (np.arange(len(messages)) * _GOLDEN + shift) % 1.0
        self._next_ns = (phase * self._cycle_ns).astype(np.int64)
        self._sent = np.zeros(len(messages), np.int64)
        self._payloads: Final = Payloads(messages, dice)

    @property
    def frames_per_second(self) -> float:
        """Of all messages together."""
        return float((1e9 / self._cycle_ns).sum())

    def before(self, end_ns: int) -> FrameBatch:
        """The frames that are due before `end_ns` and were not given yet, in order.

        Their timestamps, like `end_ns`, are nanoseconds since the beginning of the traffic.
        """
        count = np.maximum(-((self._next_ns - end_ns) // self._cycle_ns), 0)
        message = np.repeat(np.arange(len(count)), count)
        turn = np.arange(len(message)) - np.repeat(np.cumsum(count) - count, count)
        time_ns = self._next_ns[message] + turn * self._cycle_ns[message]
        order = np.argsort(time_ns, kind="stable")
        frames = self._payloads.frames(
            time_ns[order], message[order], self._sent[message[order]] + turn[order]
        )
        self._next_ns += count * self._cycle_ns
        self._sent += count
        return frames


class Timetable:
    """When frames are due on a clock that read `began_seconds` at the beginning of the traffic.

    A bus that takes less than is due makes all later frames later: what became later than
    MAX_LATE_SECONDS is never made up for, so that a bus that is free again is not flooded.
    `late_seconds`: how much that is by now.
    """

    def __init__(self, began_seconds: float) -> None:
        self.late_seconds = 0.0
        self._began_seconds = began_seconds

    def wait_seconds(self, due_ns: int, now_seconds: float) -> float:
        """How long to wait now, 0 where it is less than BEAT_SECONDS. `due_ns` as in `Traffic`."""
        early_seconds = due_ns / 1e9 + self.late_seconds - (now_seconds - self._began_seconds)
        if early_seconds < -MAX_LATE_SECONDS:
            self.late_seconds -= early_seconds
        return early_seconds if early_seconds > BEAT_SECONDS else 0.0
