"""Asks the helper for one bus, while its sink goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from edge_agent.helper.emptying import Emptying, Look
from edge_agent.host.clock import Clock
from edge_agent.transmit.writer import Writer

_logger: Final = logging.getLogger(__name__)


class QueueHelper(Protocol):
    """Takes the interface of a bus down and up, which throws away what waits in its driver."""

    @property
    def is_there(self) -> bool:
        """Whether it can be asked."""

    async def empty(self) -> float | None:
        """None once it is done; else for how many seconds it would be refused again, 0 where not known."""


class Emptier:
    """`wake` is called when it has answered."""

    def __init__(self, helper: QueueHelper, clock: Clock, wake: Callable[[], None]) -> None:
        self._helper = helper
        self._clock = clock
        self._wake = wake
        self._emptying = Emptying()
        self._writer: Writer | None = None
        self._openings = 0
        self._task: asyncio.Task[None] | None = None

    def can_empty(self, now_ns: int) -> bool:
        """Whether it is the helper that empties the queue."""
        return self._emptying.can_empty(now_ns, is_there=self._helper.is_there)

    def step(self, wanted: bool, writer: Writer | None, now_ns: int) -> bool:
        """Whether nothing is inside any more, because of the helper. `writer`: of the bus that is up."""
        if writer is not None and writer is not self._writer:
            self._writer = writer
            self._openings += 1
        opening = None if writer is None else self._openings
        todo = self._emptying.step(Look(wanted, opening, wanted and self._helper.is_there), now_ns)
        if todo == "ask":
            self._task = asyncio.get_running_loop().create_task(self._ask())
        return todo == "empty"

    def close(self) -> None:
        """Nobody waits for its answer any more."""
        if self._task is not None:
            self._task.cancel()

    async def _ask(self) -> None:
        wait_seconds: float | None = 0.0
        try:
            wait_seconds = await self._helper.empty()
        except Exception:  # whatever it is: it was not done
            _logger.exception("the helper could not be asked")
        wait_ns = round((wait_seconds or 0.0) * 1e9)
        self._emptying.answered(done=wait_seconds is None, wait_ns=wait_ns, now_ns=self._clock.boottime_ns())
        self._wake()
