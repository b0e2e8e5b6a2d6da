"""A gateway whose group ends: the last frame leaves at most `lease_seconds` later, whatever has ended it, and
it goes on when it may.

`RELAY_STOPS` says how many trials, `RELAY_STOPS_SEED` which (`scripts/soak.py relay-stops`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Final

from websockets.exceptions import ConnectionClosed

from can_stream.protocol.relay_control import Credit
from tests.helpers.conditions import soon
from tests.helpers.relay_server import ON
from tests.integration.test_relay_downlink import LEASE_SECONDS, Gateway, frames, gateway, sent

TRIALS: Final = int(os.environ.get("RELAY_STOPS", "4"))
SEED: Final = int(os.environ.get("RELAY_STOPS_SEED", "15"))
IDS: Final = 2048  # they tell which frame it was: enough for what can be on its way


class Handing:
    """Frames that are handed all the while, numbered by their positions; `position`: how many were."""

    def __init__(self, one: Gateway) -> None:
        self.one = one
        self.position = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """One each 5 ms, where there is a connection."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(ConnectionClosed):
                await self.one.server.hand_frames(frames(self.position % IDS, 1), self.position)
            self.position += 1
            await asyncio.sleep(0.005)

    def came(self) -> int:
        """How many have come out."""
        return len(sent(self.one.adapter))

    async def goes_on(self) -> None:
        """More come out."""
        before = self.came()
        await soon(lambda: self.came() > before + 3, "frames come out")


async def deactivated(one: Gateway) -> Callable[[], Awaitable[None]]:
    """The answers to pings name it no more; how it begins again."""
    one.server.activations = []

    async def again() -> None:
        one.server.activations = [ON]

    return again


async def silent(one: Gateway) -> Callable[[], Awaitable[None]]:
    """A half-open connection: frames come, and no answer."""
    one.server.answers = False

    async def again() -> None:
        one.server.answers = True

    return again


async def cut(one: Gateway) -> Callable[[], Awaitable[None]]:
    """The connection is gone, and when there is another one the group has ended."""
    known = len(one.server.relay_says(Credit))
    one.server.activations = []
    one.server.cut()

    async def again() -> None:
        await one.server.until_relay_says(Credit, known + 1)
        one.server.activations = [ON]

    return again


async def stopped(one: Gateway) -> Callable[[], Awaitable[None]]:
    """At the gateway itself."""
    await one.command("stop")

    async def again() -> None:
        await one.command("start")

    return again


WAYS: Final = (deactivated, silent, cut, stopped)


async def test_whatever_ends_a_group_is_silence_within_the_lease(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    ways = [*WAYS, *(chance.choice(WAYS) for _ in range(TRIALS - len(WAYS)))][:TRIALS]
    async with gateway(tmp_path) as one, one.running():
        handing = Handing(one)
        async with handing.running():
            for way in ways:
                await handing.goes_on()
                await asyncio.sleep(chance.uniform(0, 0.1))
                again = await way(one)
                await asyncio.sleep(LEASE_SECONDS)  # what is tested
                late = await came_late(handing)
                assert late == [], f"{way.__name__}: frames that were handed after the lease"
                await again()
                await handing.goes_on()
    ids = sent(one.adapter)
    assert all(0 < (b - a) % IDS < IDS / 2 for a, b in pairwise(ids)), "once, in order"


async def came_late(handing: Handing) -> list[int]:
    """Of the frames that are handed from now on, those that come out in half a lease."""
    came, first = handing.came(), handing.position + 1  # one may be handed at this moment
    await asyncio.sleep(LEASE_SECONDS / 2)
    await soon(lambda: handing.position > first + 10, "frames were handed after the end")
    return [one for one in sent(handing.one.adapter)[came:] if (one - first) % IDS < IDS / 2]
