"""An agent in this process, on a clock that the test sets, and a log that counts its frames."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from edge_agent.agent import Agent
from edge_agent.config.sections import AgentConfig
from edge_agent.host.clock import Clock

SPACING_NS: Final = 2_000_000
RIGHT_NS: Final = 1_766_417_462 * 10**9


class PiClock(Clock):
    """The clock of a machine that has none: it begins in 1970, and jumps when a time service sets it."""

    def __init__(self, name: str = "boot-1") -> None:
        self._name = name
        self._began_ns = super().monotonic_ns()
        self._offset_ns = 12 * 10**9
        self._is_right = False
        self._lock = threading.Lock()

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() - self._began_ns

    def system_ns(self) -> int:
        with self._lock:
            return self.monotonic_ns() + self._offset_ns

    def synchronised(self) -> bool:
        return self._is_right

    def boot_id(self) -> str:
        return self._name

    def set(self, offset_ns: int, *, right: bool) -> None:
        """A time service, or somebody, sets the clock."""
        with self._lock:
            self._offset_ns = offset_ns
            self._is_right = right


def counting_log(path: Path) -> Path:
    """A log in which each frame says its number, for as long as a test lasts."""
    frames = 60 * 10**9 // SPACING_NS
    path.write_text("".join(f"({n * SPACING_NS / 1e9:.6f}) can0 100#{n:08X}\n" for n in range(frames)))
    return path


@contextlib.asynccontextmanager
async def running(config: AgentConfig, clock: PiClock) -> AsyncIterator[None]:
    """The agent in this process, so that it has this clock; at the end all is acknowledged."""
    stop = asyncio.Event()
    task = asyncio.create_task(Agent(config, clock).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


def number_of(frame: dict[str, Any]) -> int:
    """Which frame of the log this is."""
    return int(frame["data_hex"].replace(" ", ""), 16)
