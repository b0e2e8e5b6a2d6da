"""Items that come slowly hold nobody up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from edge_agent.logs.slow_source import as_they_come


async def test_the_loop_goes_on_while_an_item_is_waited_for() -> None:
    go = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert go.wait(30)
        yield 2

    found = []
    async for item in as_they_come(items()):
        found.append(item)
        asyncio.get_running_loop().call_later(0.05, go.set)  # only a loop that runs does so
    assert found == [1, 2]


async def test_what_the_items_raise_is_raised_behind_them() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    came = as_they_come(items())
    assert await anext(came) == 1
    with pytest.raises(ValueError, match="no more"):
        await anext(came)
