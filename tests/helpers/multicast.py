"""A node on python-can's `udp_multicast` that hears its own group alone, and bears a busy machine."""

from __future__ import annotations

import socket

import can

_IP_MULTICAST_ALL = 49  # <linux/in.h>: without it a socket gets what others on its port have joined
_BUFFER_BYTES = 4 << 20


def multicast_bus(channel: str) -> can.BusABC:
    """Raises OSError or can.CanError where the machine has no multicast."""
    bus = can.Bus(channel, "udp_multicast", ignore_config=True)
    raw: socket.socket = bus._multicast._socket  # type: ignore[attr-defined]
    raw.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    return bus
