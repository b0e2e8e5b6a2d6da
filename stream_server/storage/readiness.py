"""Whether both files take a write now, found out by one, at most once in a second for however many ask."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from stream_server import clock
from stream_server.storage import kept_facts
from stream_server.storage.database import Database

HOLDS_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 2.0


class Readiness:
    """What `/readyz` says, of files that each have a key to write."""

    def __init__(self, files: Sequence[tuple[Database, kept_facts.Key]]) -> None:
        self._files = files
        self._probe: asyncio.Task[str | None] | None = None
        self._begun_at_seconds = float("-inf")

    async def fault(self) -> str | None:
        """Why nothing can be stored, None where it can. Answers within two seconds, locked or not."""
        now_seconds = clock.monotonic_seconds()
        is_old = now_seconds - self._begun_at_seconds >= HOLDS_SECONDS
        if self._probe is None or (self._probe.done() and is_old):
            self._begun_at_seconds = now_seconds
            self._probe = asyncio.create_task(self._write())
        patience = max(0.0, self._begun_at_seconds + PATIENCE_SECONDS - now_seconds)
        done, _ = await asyncio.wait([self._probe], timeout=patience)
        if not done:
            return f"a write has taken {clock.monotonic_seconds() - self._begun_at_seconds:.0f} s so far"
        return self._probe.result() or next((d.fault for d, _ in self._files if d.fault is not None), None)

    async def close(self) -> None:
        """Give up what is still being tried."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.wait([self._probe])

    async def _write(self) -> str | None:
        for database, key in self._files:
            # A small write may succeed where those of packets fail: their fault counts too.
            fault = database.fault
            try:
                put = partial(kept_facts.put, key=key, value=str(clock.wall_ns()))
                await database.write(put)
            except Exception as error:
                fault = database.fault or type(error).__name__
            if fault is not None:
                return f"{database.path.name}: {fault}"
        return None
