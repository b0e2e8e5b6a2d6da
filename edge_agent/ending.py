"""How an agent ends that has a fault: soon, with a message, whatever holds up its parts."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from typing import Final

# To say goodbye, and to close what is open. A driver, a disk or a name server may hold a thread for ever.
END_SECONDS: Final = 6.0
STATUS: Final = 1
_logger: Final = logging.getLogger(__name__)


class LastResort:
    """Ends the process where a fault does not. `end` never returns, but for tests."""

    def __init__(self, end: Callable[[int], object] = os._exit, seconds: float = END_SECONDS) -> None:
        self._end = end
        self._seconds = seconds
        self._is_armed = False

    def watch(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """The same task; when it fails, this is said at once, and the process has `seconds` to end."""
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        fault = None if task.cancelled() else task.exception()
        if fault is None or self._is_armed:
            return
        self._is_armed = True
        _logger.critical("the agent ends, for a part of it has failed: %s: %r", task.get_name(), fault)
        threading.Thread(target=self._end_late, name="last resort", daemon=True).start()

    def _end_late(self) -> None:
        # Nobody stops the wait: where all goes well, the process ends before.
        threading.Event().wait(self._seconds)
        _logger.critical("the agent is ended, for it has not ended within %g s of that", self._seconds)
        self._end(STATUS)
