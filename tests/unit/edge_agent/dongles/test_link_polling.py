"""The kernel is asked how buses stand; what it says reaches the bus, the lane and the reader."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from pytest_mock import MockerFixture

from edge_agent.config.dongle import DongleSection
from edge_agent.config.sections import UplinkSection
from edge_agent.dongles.dongle import Dongle
from edge_agent.dongles.link_polling import LinkPolling
from edge_agent.dongles.pipeline import LaneSections
from edge_agent.host.can_link import CanLink
from edge_agent.host.clock import Clock
from edge_agent.state import State, StatusCode
from edge_agent.uplink.hello import new_start_id
from tests.helpers.can_links import virtual_link


class Watched:
    """A dongle that is read, as far as its bus knows, and what watches it."""

    def __init__(self, mocker: MockerFixture, channel: str, **section: Any) -> None:
        clock = Clock()
        self.dongle = Dongle(
            DongleSection(channel, id="van7-can0", **section),
            LaneSections(new_start_id(), UplinkSection()),
            clock,
        )
        self.polling = LinkPolling([self.dongle])
        self.dongle.bus.take_source(State(StatusCode.OK, "reading"))
        self._asked = asyncio.Event()
        mocker.patch.object(self.dongle.bus, "look", side_effect=self._asked.set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.polling.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def asked_again(self) -> None:
        """Trouble, until the kernel has been asked because of it."""
        self._asked.clear()
        self.dongle.bus.on_trouble()
        await asyncio.wait_for(self._asked.wait(), 30)


async def test_what_the_kernel_cannot_tell_is_said_once(
    caplog: pytest.LogCaptureFixture, mocker: MockerFixture
) -> None:
    caplog.set_level(logging.WARNING)
    watched = Watched(mocker, "lo")
    async with watched.running():
        for _ in range(3):
            await watched.asked_again()
    assert [record.getMessage() for record in caplog.records] == ["van7-can0: lo is no CAN interface"]


async def test_there_is_nothing_to_watch_where_no_bus_is_the_kernels(mocker: MockerFixture) -> None:
    await asyncio.wait_for(Watched(mocker, "drive.log", interface="log").polling.run(), 10)


async def test_a_loss_is_a_gap_and_a_dead_socket_is_opened_again(mocker: MockerFixture) -> None:
    links: list[CanLink] = [
        virtual_link(),
        virtual_link({"rx_over_errors": 1, "rx_packets": 5}),
        virtual_link({"rx_over_errors": 1, "rx_packets": 5}, index=9),
    ]
    mocker.patch("edge_agent.dongles.link_polling.read_can_link", side_effect=lambda _: links[0])
    watched = Watched(mocker, "vcan0")
    reopened = mocker.patch.object(watched.dongle.reader, "reopen")
    held = watched.dongle.pipeline.frames.window.held_packets
    async with watched.running():
        while len(links) > 1:
            await watched.asked_again()
            links.pop(0)
        await watched.asked_again()
    assert watched.dongle.pipeline.frames.window.held_packets == held + 1
    assert watched.dongle.bus.metrics["controller_overruns"] == 1
    assert reopened.call_args.args[0].fault == "unplugged"
