"""What comes slowly, as from a pipe, without holding up the loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

_Item = TypeVar("_Item")
_AHEAD: Final = 2


async def as_they_come(items: Iterable[_Item]) -> AsyncIterator[_Item]:
    """The same items, taken by a thread that may wait for them. Raises what `items` raises.

    Who stops early leaves the thread behind: it waits for the next item, and ends with the process.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[_Item | _End] = asyncio.Queue(_AHEAD)

    def take() -> None:
        with contextlib.suppress(RuntimeError):  # nobody is there any more
            for item in _until_the_end(items):
                asyncio.run_coroutine_threadsafe(queue.put(item), loop).result()

    threading.Thread(target=take, daemon=True).start()
    while not isinstance(item := await queue.get(), _End):
        yield item
    if item.error is not None:
        raise item.error


class _End:
    def __init__(self, error: Exception | None) -> None:
        self.error = error


def _until_the_end(items: Iterable[_Item]) -> Iterable[_Item | _End]:
    try:
        yield from items
    except Exception as error:  # raised where it is awaited
        yield _End(error)
    else:
        yield _End(None)
