"""Adapters that come and go are noticed, and told once each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from can_stream.protocol.control import Discovery
from edge_agent.config.dongle import DongleSection
from edge_agent.dongles.plugging import PlugWatch, inventory_for
from edge_agent.dongles.whereabouts import Whereabouts
from edge_agent.host.clock import Clock
from edge_agent.host.inventory import Inventory
from tests.helpers.sysfs import SysTree


class Bench:
    """A watch on a made /sys, with everything it says."""

    def __init__(self, root: Path) -> None:
        self.tree = SysTree(root)
        self.said: asyncio.Queue[Discovery] = asyncio.Queue()
        self.news = asyncio.Event()
        self.dongles = {
            "van7-can0": Whereabouts(DongleSection("can0")),
            "van7-a1": Whereabouts(DongleSection(device_id="A1")),
        }
        inventory = Inventory(root=root)
        self.watch = PlugWatch(inventory, self.dongles, self.news.set, self.said.put_nowait, Clock())

    async def next(self) -> tuple[str, str, str | None]:
        async with asyncio.timeout(30):
            said = await self.said.get()
        return said.kind, said.details["channel"], said.dongle_id

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.watch.run())
        yield
        task.cancel()


@pytest.fixture
def bench(tmp_path: Path, mocker: MockerFixture) -> Bench:
    mocker.patch("edge_agent.dongles.plugging.LOOK_SECONDS", 0.01)
    mocker.patch("edge_agent.dongles.plugging._SETTLE_SECONDS", 0.01)
    return Bench(tmp_path / "sys")


async def test_at_start_only_what_is_not_configured_is_told(bench: Bench) -> None:
    function = bench.tree.function(bench.tree.stick(serial=b"A1"))
    for number in range(3):
        bench.tree.network(f"can{number + 5}", function, dev_id=number)
    bench.tree.network("can0")
    async with bench.running():
        assert await bench.next() == ("DonglePlugged", "can6", None)
        assert await bench.next() == ("DonglePlugged", "can7", None)
        bench.tree.unplug("can0")
        assert await bench.next() == ("DongleUnplugged", "can0", "van7-can0")
    assert bench.said.empty()


async def test_what_comes_and_goes_is_told_with_its_dongle(bench: Bench) -> None:
    stick = bench.tree.stick(serial=b"A1")
    bench.tree.network("can99")
    async with bench.running():
        assert await bench.next() == ("DonglePlugged", "can99", None)  # it looks
        bench.tree.network("can0", bench.tree.board())
        assert await bench.next() == ("DonglePlugged", "can0", "van7-can0")
        assert bench.news.is_set()
        bench.tree.serial_port("ttyACM0", bench.tree.function(stick, 1, "cdc_acm"))
        assert await bench.next() == ("DonglePlugged", "/dev/ttyACM0", None)
        bench.tree.network("can7", bench.tree.function(stick))
        assert await bench.next() == ("DonglePlugged", "can7", "van7-a1")
        bench.tree.unplug("can7")
        assert await bench.next() == ("DongleUnplugged", "can7", "van7-a1")
        bench.tree.unplug("can0")
        assert await bench.next() == ("DongleUnplugged", "can0", "van7-can0")


async def test_a_change_of_name_is_told_as_such(bench: Bench) -> None:
    bench.tree.network("can8", bench.tree.function(bench.tree.stick(serial=b"A1")))
    bench.tree.network("can1")
    async with bench.running():
        assert await bench.next() == ("DonglePlugged", "can1", None)
        bench.tree.unplug("can8")
        bench.tree.network("can9", bench.tree.function(bench.tree.stick("1-2", serial=b"A1")))
        told = {await bench.next(), await bench.next()}
        assert told == {("DongleUnplugged", "can8", "van7-a1"), ("DonglePlugged", "can9", "van7-a1")}


def test_only_what_is_plugged_in_somewhere_is_looked_for() -> None:
    assert (
        inventory_for([DongleSection("drive.log", interface="log"), DongleSection("1", interface="pcan")])
        is None
    )
    assert inventory_for([DongleSection("can0")]) is not None
