"""Whether there is a way to the network at all, and what is told when the kernel has news of it."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from edge_agent.host import network_watch
from edge_agent.host.network_watch import NetworkWatch, has_default_route
from tests.helpers.network_news import address

ROUTE_HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
DEFAULT = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
NEIGHBOURS = "eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
ANYWHERE = "0" * 32
IPV6_DEFAULT = f"{ANYWHERE} 00 {ANYWHERE} 00 {ANYWHERE} 00000400 1 0 00000003 eth0\n"
IPV6_NOWHERE = f"{ANYWHERE} 00 {ANYWHERE} 00 {ANYWHERE} ffffffff 1 0 00200200 lo\n"


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ((ROUTE_HEAD + NEIGHBOURS, ""), False),
        ((ROUTE_HEAD, IPV6_NOWHERE), False),
        ((ROUTE_HEAD + NEIGHBOURS + DEFAULT, ""), True),
        ((ROUTE_HEAD, IPV6_NOWHERE + IPV6_DEFAULT), True),
        ((), True),  # nobody knows
    ],
)
def test_a_way_to_anywhere(
    routes: tuple[str, ...], expected: bool, tmp_path: Path, mocker: MockerFixture
) -> None:
    paths = tmp_path / "route", tmp_path / "ipv6_route"
    mocker.patch.object(network_watch, "_ROUTES", paths)
    for path, text in zip(paths, routes, strict=False):
        path.write_text(text)
    assert has_default_route() is expected


async def told(said: list[Any], mocker: MockerFixture) -> int:
    """How often it tells of what the kernel says, before that ends."""
    mocker.patch.object(network_watch, "PAUSE_SECONDS", 0.0)
    loop = asyncio.get_running_loop()
    mocker.patch.object(type(loop), "sock_recv", side_effect=[*said, asyncio.CancelledError()])
    changes: list[None] = []
    with pytest.raises(asyncio.CancelledError):
        await NetworkWatch(lambda: changes.append(None)).run()
    return len(changes)


async def test_it_tells_of_news_alone(mocker: MockerFixture) -> None:
    assert await told([address(), address(), address("192.0.2.9")], mocker) == 2


async def test_news_that_were_lost_or_cannot_be_read_may_be_any(mocker: MockerFixture) -> None:
    assert await told([OSError(errno.ENOBUFS, "No buffer space available"), b"?"], mocker) == 2


async def test_where_nobody_may_listen_it_ends(mocker: MockerFixture) -> None:
    mocker.patch("socket.socket", side_effect=OSError(errno.EAFNOSUPPORT, "not supported"))
    await NetworkWatch(lambda: None).run()
