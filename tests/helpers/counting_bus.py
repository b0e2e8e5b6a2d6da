"""A live bus that counts: every frame carries its number, whoever reads it and whenever."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

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

    def wait_until_open(self, timeout_seconds: float = 30.0) -> None:
        """An agent reads it."""
        assert self._adapter.opened.wait(timeout_seconds), "nobody has opened the bus"

    def send(self, count: int) -> None:
        """So many frames, as fast as they are read."""
        for begin in range(self.sent, self.sent + count, 100):
            part = range(begin, min(begin + 100, self.sent + count))
            self._adapter.send(b"".join(b"t%03X8%016X\r" % (number % 0x700, number) for number in part))
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
    return [int(line.rpartition("#")[2], 16) for line in lines]
