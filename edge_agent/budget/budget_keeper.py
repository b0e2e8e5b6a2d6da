"""Keeps a day's byte budget: counts what the uplink sends, remembers it over restarts, says each stage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.budget.budget import Budget, Spent, Stage
from edge_agent.host.clock import Clock
from edge_agent.host.state_directory import write_whole
from edge_agent.uplink.uplink import Uplink

LOOK_SECONDS: Final = 1.0
KEEP_SECONDS: Final = 60.0
_MAX_FILE_BYTES: Final = 4096
_logger: Final = logging.getLogger(__name__)


class BudgetKeeper:
    """`on_look` is told what is sent from now on, at the start and at least each second."""

    def __init__(
        self,
        max_bytes: int,
        path: Path,
        uplink: Uplink,
        clock: Clock,
        on_look: Callable[[Stage, Budget], None],
    ) -> None:
        self._path = path
        self._uplink = uplink
        self._clock = clock
        self._on_look = on_look
        self._counted_bytes = 0
        self._kept = _read(path)
        self._kept_at_seconds = clock.monotonic_seconds()
        self.budget: Final = Budget(max_bytes, self._kept)

    async def run(self) -> None:
        """Until cancelled; what was sent is kept at the end too."""
        try:
            while True:
                self._look()
                if self._clock.monotonic_seconds() - self._kept_at_seconds >= KEEP_SECONDS:
                    await asyncio.to_thread(self._keep)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._look()
            self._keep()

    def _look(self) -> None:
        sent_bytes = self._uplink.counts.spent_bytes
        self.budget.add_sent(sent_bytes - self._counted_bytes, self._wall_ns())
        self._counted_bytes = sent_bytes
        self._uplink.allow_bytes(max(0, self.budget.max_bytes - self.budget.bytes_today))
        self._on_look(self.budget.stage, self.budget)

    def _wall_ns(self) -> int | None:
        """What time it is: a clock that is not right is not asked, but the server."""
        if self._clock.synchronised():
            return self._clock.wall_ns()
        offset_ns = self._uplink.server_offset_ns
        return None if offset_ns is None else self._clock.monotonic_ns() + offset_ns

    def _keep(self) -> None:
        self._kept_at_seconds = self._clock.monotonic_seconds()
        spent = self.budget.spent
        if spent == self._kept:
            return
        try:
            write_whole(self._path, msgspec.json.encode(spent))
        except OSError as error:
            text = "today's count of bytes cannot be kept in %s (%s): a restart would begin anew"
            _logger.warning(text, self._path, error.strerror)
        self._kept = spent


def _read(path: Path) -> Spent | None:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_FILE_BYTES), type=Spent)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeError) as error:
        _logger.warning("today's count of bytes in %s cannot be read (%s): it begins anew", path, error)
        return None
