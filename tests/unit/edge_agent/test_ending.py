"""A fault ends the agent, also where its parts do not end by themselves."""

from __future__ import annotations

import asyncio
import threading

import pytest

from edge_agent.ending import LastResort


async def test_a_fault_is_said_at_once_and_ends_the_process_where_nothing_else_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = threading.Event()
    statuses: list[int] = []

    def end(status: int) -> None:
        statuses.append(status)
        ended.set()

    async def fails() -> None:
        raise RuntimeError("a disk of stone")

    last_resort = LastResort(end, seconds=0.05)
    task = last_resort.watch(asyncio.create_task(fails(), name="spool"))
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert "spool: RuntimeError('a disk of stone')" in caplog.text
    assert await asyncio.to_thread(ended.wait, 10)
    assert statuses == [1]


async def test_what_ends_or_is_told_to_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    last_resort = LastResort(lambda _: pytest.fail("ended"), seconds=0)

    async def waits(seconds: float) -> None:
        await asyncio.sleep(seconds)

    tasks = [last_resort.watch(asyncio.create_task(waits(seconds))) for seconds in (0, 60)]
    tasks[1].cancel()
    await asyncio.wait(tasks)
    await asyncio.sleep(0)
    assert "ends" not in caplog.text
