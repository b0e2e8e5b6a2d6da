"""A conversation ends where nothing is said for too long, and only there."""

from __future__ import annotations

import asyncio

import pytest

from stream_server.agents.agent_socket import Silence

SHORT_SECONDS = 0.02
FOR_EVER_SECONDS = 3600.0


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
