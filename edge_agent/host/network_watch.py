"""Ways to the network: whether there is one, and who is told when another one may have come."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_agent.errors import LinkError
from edge_agent.host.network_changes import NetworkChanges

# RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE of linux/rtnetlink.h.
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_MAX_DATAGRAM_BYTES: Final = 1 << 16
# One change comes in several messages, and what one of them leads to may need the next.
PAUSE_SECONDS: Final = 1.0
_ROUTES: Final = (Path("/proc/net/route"), Path("/proc/net/ipv6_route"))
_logger: Final = logging.getLogger(__name__)


class NetworkWatch:
    """Calls `on_change` when a route, an address or a carrier appears, at most once a second."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._changes = NetworkChanges()

    async def run(self) -> None:
        """Watches until cancelled; returns where the kernel lets nobody listen."""
        try:
            netlink = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
            )
        except OSError as error:
            _logger.info("changes of the network are not seen: %s", error.strerror)
            return
        with netlink:
            netlink.bind((0, _GROUPS))
            while True:
                if await self._changed(netlink):
                    self._on_change()
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _changed(self, netlink: socket.socket) -> bool:
        """Whether the next message brings something new."""
        try:
            datagram = await asyncio.get_running_loop().sock_recv(netlink, _MAX_DATAGRAM_BYTES)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return True  # more came than the socket holds
        try:
            return self._changes.take(datagram)
        except LinkError as error:
            _logger.warning("news of the network cannot be read: %s", error)
            return True


def has_default_route() -> bool:
    """proc_net(5): a route to anywhere that is up; True where that cannot be known."""
    found, readable = False, False
    for path in _ROUTES:
        try:
            lines = path.read_text("ascii").splitlines()
        except (OSError, ValueError):
            continue
        readable = True
        fields = [line.split() for line in lines]
        if path.name == "route":
            found |= any(len(one) > 7 and one[1] == "00000000" and one[7] == "00000000" for one in fields)
        else:
            found |= any(
                len(one) > 9 and one[1] == "00" and one[9] != "lo" and int(one[0], 16) == 0 for one in fields
            )
    return found or not readable
