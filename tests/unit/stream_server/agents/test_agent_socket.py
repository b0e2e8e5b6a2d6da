"""A conversation ends where nothing is said for too long, and only there; nobody always has the word."""

from __future__ import annotations

import asyncio
import time

import pytest

from stream_server.agents.agent_socket import TURN_SECONDS, Silence, Turns

SHORT_SECONDS = 0.02
FOR_EVER_SECONDS = 3600.0


def hold_the_loop(seconds: float) -> None:
    time.sleep(seconds)


async def listen(*limits_seconds: float) -> None:
    """Waits of such limits, of which the last does not end by itself."""
    async with asyncio.timeout(None) as timeout:
        silence = Silence(timeout)
        for seconds in limits_seconds[:-1]:
            silence.begins(seconds)
            silence.ends()
        silence.begins(limits_seconds[-1])
        await asyncio.Event().wait()


@pytest.mark.parametrize("earlier", [(), (FOR_EVER_SECONDS,), (SHORT_SECONDS / 2,)])
async def test_a_wait_that_takes_too_long_ends(earlier: tuple[float, ...]) -> None:
    with pytest.raises(TimeoutError):
        await listen(*earlier, SHORT_SECONDS)


async def test_work_between_two_waits_takes_as_long_as_it_takes() -> None:
    async with asyncio.timeout(None) as timeout:
        silence = Silence(timeout)
        silence.begins(SHORT_SECONDS)
        silence.ends()
        await asyncio.sleep(3 * SHORT_SECONDS)
        silence.begins(FOR_EVER_SECONDS)
        await asyncio.sleep(3 * SHORT_SECONDS)
        silence.close()
    assert not timeout.expired()


@pytest.mark.parametrize(("others_seconds", "least", "most"), [(0.0, 0.9, 1.0), (0.03, 0.0, 0.26)])
async def test_who_always_has_more_to_say_has_a_quarter_where_others_wait(
    others_seconds: float, least: float, most: float
) -> None:
    used_seconds, loop = 0.0, asyncio.get_running_loop()

    async def others() -> None:
        while True:
            hold_the_loop(others_seconds)
            await asyncio.sleep(0)

    crowd, turns = asyncio.create_task(others()), Turns(loop)
    began_at = loop.time()
    while (took_seconds := loop.time() - began_at) < 0.6:
        turns.asks()
        await turns.given()
        asked_at = loop.time()
        hold_the_loop(1.1 * TURN_SECONDS)
        used_seconds += loop.time() - asked_at
    crowd.cancel()
    assert least < used_seconds / took_seconds <= most
