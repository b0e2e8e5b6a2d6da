"""What the kernel knows of a CAN interface and its queue, asked by rtnetlink. It needs no privilege."""

from __future__ import annotations

import os
import socket
from typing import Final

from edge_agent.errors import LinkError
from edge_agent.host.rtnetlink import (
    MAX_NAME_BYTES,
    CanLink,
    DeviceStatistics,
    InterfaceCounters,
    link_request,
    parse_link,
)
from edge_agent.host.tx_queue import queue_request, waiting_frames

__all__ = [
    "CanLink", "DeviceStatistics", "InterfaceCounters", "parse_link", "read_can_link", "read_waiting_frames",
]  # fmt: skip

_MAX_ANSWER_BYTES: Final = 1 << 16
# The answer is there when `sendto` returns.
_PATIENCE_SECONDS: Final = 1.0


def read_can_link(channel: str) -> CanLink | None:
    """How the interface stands now; None where there is none of the name.

    Raises LinkError where it is no CAN interface, and where the kernel cannot be asked. Takes some 50 us,
    but waits while the kernel changes any interface, so it is not for the event loop.
    """
    name = os.fsencode(channel)
    if not 0 < len(name) <= MAX_NAME_BYTES or b"\0" in name:
        return None
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
            netlink.settimeout(_PATIENCE_SECONDS)
            netlink.sendto(link_request(name), (0, 0))
            return parse_link(netlink.recv(_MAX_ANSWER_BYTES))
    except OSError as error:
        reason = error.strerror or error
        raise LinkError(f"the kernel does not tell how {channel} stands: {reason}") from error


def read_waiting_frames(index: int) -> int:
    """How many frames wait in the kernel's queue of the interface with this number; 0 where it has no queue.

    Raises LinkError where that cannot be known. As long as `read_can_link`, and as little for the event loop.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
            netlink.settimeout(_PATIENCE_SECONDS)
            netlink.sendto(queue_request(index), (0, 0))
            answer = b""
            while (waiting := waiting_frames(answer)) is None:
                if len(answer) > _MAX_ANSWER_BYTES:
                    raise LinkError("the kernel's answer about a queue has no end")
                answer += netlink.recv(_MAX_ANSWER_BYTES)
            return waiting
    except OSError as error:
        reason = error.strerror or error
        raise LinkError(f"the kernel does not tell what waits in interface {index}: {reason}") from error
