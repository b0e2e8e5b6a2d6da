"""SIGTERM and Ctrl-C for what runs until it is stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


class StopSignals:
    """Both end a service in order; Ctrl-C ends its command as it ends every other, all the same."""

    def __init__(self) -> None:
        self._interrupted = False

    def listen(self, stop: Callable[[], object]) -> None:
        """Has them call `stop` in the running event loop, for as long as that runs."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop)
        loop.add_signal_handler(signal.SIGINT, self._interrupt, stop)

    def _interrupt(self, stop: Callable[[], object]) -> None:
        self._interrupted = True
        stop()

    def end(self) -> None:
        """Once all is in order. KeyboardInterrupt where it was Ctrl-C."""
        if self._interrupted:
            raise KeyboardInterrupt
