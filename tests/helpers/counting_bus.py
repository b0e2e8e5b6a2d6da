"""A live bus that counts: every frame carries its number, whoever reads it and whenever."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from tests.helpers.conditions import eventually
from tests.helpers.lawicel import LawicelAdapter

_BEAT_SECONDS: Final = 0.01


class CountingBus:
    """An slcan adapter at a pseudo terminal whose frames hold 0, 1, 2 ... in their data; a context manager.

    It sends `frames_per_second`, which the test may change (0: silence), whether or not somebody reads.
    """

    def __init__(self, frames_per_second: float = 0) -> None:
        self.frames_per_second = frames_per_second
        self.sent = 0
        self._adapter = LawicelAdapter()
        self._stop = threading.Event()
        self._sending = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._adapter.unplug()
        self._thread.join()

    def dongle(self, dongle_id: str) -> Mapping[str, Any]:
        """The dongle of an agent's configuration."""
        return {"id": dongle_id, "interface": "slcan", "channel": self._adapter.path, "bitrate": 500_000}

    @property
    def times_opened(self) -> int:
        """How often an agent has opened it."""
        return sum(command[:1] in "OL" for command in self._adapter.commands)

    def wait_until_open(self, times: int = 1) -> None:
        """An agent has opened it, for at least so many times."""
        eventually(lambda: self.times_opened >= times, f"the bus is opened {times} times")

    def pause(self) -> int:
        """Sends no more by itself; how many frames it has sent."""
        self.frames_per_second = 0
        with self._sending:
            return self.sent

    def send(self, count: int, noise: random.Random | None = None) -> None:
        """So many frames, as fast as they are read; `noise` fills what the number leaves."""
        with self._sending:
            self._send(count, noise)

    def _send(self, count: int, noise: random.Random | None) -> None:
        for begin in range(self.sent, self.sent + count, 100):
            part = range(begin, min(begin + 100, self.sent + count))
            fill = [noise.randrange(1 << 32) if noise else 0 for _ in part]
            lines = (b"t%03X8%08X%08X\r" % (n % 0x700, n, rest) for n, rest in zip(part, fill, strict=True))
            self._adapter.send(b"".join(lines))
        self.sent += count

    def _run(self) -> None:
        begun, sent = time.monotonic(), 0.0
        while not self._stop.wait(_BEAT_SECONDS):
            now = time.monotonic()
            sent += (now - begun) * self.frames_per_second
            begun = now
            if self._adapter.opened.is_set() and sent >= 1:
                self.send(int(sent))
                sent -= int(sent)


def numbers_in(lines: list[str]) -> list[int]:
    """The numbers of frames in candump lines, in order."""
    return [int(line.rpartition("#")[2][:8], 16) for line in lines]
