"""Warnings that go to the server: which do, how many, and in what words."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from can_stream.protocol.control import (
    Log,
    decode_agent_control_message,
    encode_control_message,
)
from edge_agent.host.clock import Clock
from edge_agent.status.log_forwarding import MAX_CHARACTERS, PACE, LogForwarder
from tests.helpers.conditions import Gathered

LOGGER = logging.getLogger("edge_agent.bus.reader")


class FastClock(Clock):
    """Pauses are over when the test says so."""

    ahead_seconds = 0.0

    def monotonic_seconds(self) -> float:
        return super().monotonic_seconds() + self.ahead_seconds


@asynccontextmanager
async def forwarding(clock: Clock | None = None) -> AsyncIterator[Gathered[Log]]:
    told = Gathered[Log]()
    forwarder = LogForwarder(told.append, clock or Clock())
    with forwarder.attached():
        task = asyncio.create_task(forwarder.run())
        try:
            yield told
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_warnings_and_errors_of_ours_go_and_nothing_else() -> None:
    async with forwarding() as told:
        LOGGER.info("reading")
        logging.getLogger("websockets").error("not ours")
        LOGGER.warning("%s: %s", "van7-can0", "it is down", extra={"dongle_id": "van7-can0"})
        try:
            raise ValueError("inside")
        except ValueError:
            LOGGER.exception("the driver failed")
        await told.until(2)
        await asyncio.sleep(0)
    assert [(log.level, log.source, log.message, log.dongle_id) for log in told] == [
        ("warning", "reader", "it is down", "van7-can0"),
        ("error", "reader", "the driver failed", None),
    ]
    LOGGER.warning("after the end")
    assert len(told) == 2


async def test_a_burst_is_one_line_and_a_sum() -> None:
    clock = FastClock()
    async with forwarding(clock) as told:
        for number in range(1000):
            LOGGER.warning("queue full %d", number)
        await told.until(1)
        clock.ahead_seconds = PACE.first_pause_seconds + 1
        await told.until(2)
    assert [log.message for log in told] == ["queue full 0", "999 more like this, the last: queue full 999"]


async def test_another_fault_of_the_same_bus_goes_at_once_too() -> None:
    async with forwarding() as told:
        for kind in ("down", "down", "bus_off"):
            LOGGER.warning("%s: %s", "van7-can0", kind, extra={"dongle_id": "van7-can0", "kind": kind})
        await told.until(2)
        await asyncio.sleep(0)
    assert [log.message for log in told] == ["down", "bus_off"]


async def test_a_reading_thread_may_warn() -> None:
    async with forwarding() as told:
        thread = threading.Thread(target=LOGGER.warning, args=("from a thread",))
        thread.start()
        await told.until(1)
        thread.join()


async def test_any_text_becomes_a_message_of_bounded_size() -> None:
    async with forwarding() as told:
        LOGGER.warning("name %s", "\udcff" * 2_000)
        LOGGER.critical("last")
        await told.until(2)
    assert len(told[0].message) == MAX_CHARACTERS
    assert [log.level for log in told] == ["warning", "error"]
    for log in told:
        assert decode_agent_control_message(encode_control_message(log)) == log
