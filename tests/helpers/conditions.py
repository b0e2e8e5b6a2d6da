"""Waiting for what must happen soon, with a bound and never for a guessed time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

DEADLINE_SECONDS: Final = 30.0
_LOOK_AGAIN_SECONDS: Final = 0.02


def eventually(look: Callable[[], T], what: str, timeout_seconds: float = DEADLINE_SECONDS) -> T:
    """The first truthy value of `look`. AssertionError that names `what` did not happen."""
    deadline = time.monotonic() + timeout_seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_seconds} s, last seen: {found!r}"
        time.sleep(_LOOK_AGAIN_SECONDS)
    return found


async def soon(look: Callable[[], object], what: str, timeout_seconds: float = DEADLINE_SECONDS) -> None:
    """`look` is true, or becomes so while the event loop runs. AssertionError that names `what` did not."""
    deadline = time.monotonic() + timeout_seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_seconds} s, last seen: {found!r}"
        await asyncio.sleep(_LOOK_AGAIN_SECONDS / 4)


@contextlib.asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """It runs meanwhile, and is cancelled in the end. What it raised is raised where it has ended itself."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


class Gathered(list[T]):
    """What an asyncio program says, one after the other."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        super().__init__()

    def append(self, said: T) -> None:
        """It says this."""
        super().append(said)
        self._news.set()

    async def until(self, count: int, timeout_seconds: float = DEADLINE_SECONDS) -> None:
        """It has said so much."""
        async with asyncio.timeout(timeout_seconds):
            while len(self) < count:
                self._news.clear()
                await self._news.wait()
