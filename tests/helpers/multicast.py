"""A node on python-can's `udp_multicast` that hears its own group alone, on the usual port."""

from __future__ import annotations

import os
import socket
from typing import Final

import can

# <linux/in.h>: unless it is 0 a socket gets what others on its port have joined, too.
_IP_MULTICAST_ALL: Final = 49


def multicast_bus(channel: str) -> can.BusABC:
    """Raises OSError or can.CanError where the machine has no multicast."""
    bus = can.Bus(channel, "udp_multicast", ignore_config=True)
    with socket.socket(fileno=os.dup(bus.fileno())) as same:
        same.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    return bus
