"""Takes a CAN interface down and up by rtnetlink, which empties its queue. It needs CAP_NET_ADMIN."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Final

from edge_agent.errors import LinkError
from edge_agent.host.rtnetlink import HEADER, LINK, RTM_NEWLINK, unpack

_NLMSG_ERROR: Final = 2
_NLM_F_REQUEST: Final = 1
_NLM_F_ACK: Final = 4
_IFF_UP: Final = 1
_MAX_ANSWER_BYTES: Final = 1 << 12
_PATIENCE_SECONDS: Final = 2.0
# A driver may need a moment before it lets its device be opened again.
_ATTEMPTS: Final = 3


def restart_link(index: int) -> None:
    """Down and up, by its number: what has got its name meanwhile is another one. Its settings stay.

    What waits in the kernel's queue and in the driver is thrown away. LinkError: it may be down then.
    """
    set_link(index, up=False)
    for attempt in range(_ATTEMPTS):
        try:
            set_link(index, up=True)
        except LinkError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def set_link(index: int, *, up: bool) -> None:
    """Returns when the kernel has done it. Raises LinkError."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
            netlink.settimeout(_PATIENCE_SECONDS)
            netlink.sendto(set_request(index, up=up), (0, 0))
            answer = netlink.recv(_MAX_ANSWER_BYTES)
    except OSError as error:
        raise LinkError(f"the kernel cannot be asked: {error.strerror or error}") from error
    check_done(answer)


def set_request(index: int, *, up: bool) -> bytes:
    """The request to set one flag, and nothing else, of the interface with this number."""
    body = LINK.pack(0, 0, index, _IFF_UP if up else 0, _IFF_UP)
    return HEADER.pack(HEADER.size + len(body), RTM_NEWLINK, _NLM_F_REQUEST | _NLM_F_ACK, 1, 0) + body


def check_done(answer: bytes) -> None:
    """Raises LinkError unless the kernel says that it was done."""
    _, kind, _, _, _ = unpack(HEADER, answer, "message")
    (number,) = unpack(struct.Struct("=i"), answer[HEADER.size :], "error")
    if kind != _NLMSG_ERROR or number > 0:
        raise LinkError(f"an answer of type {kind}")
    if number:
        raise LinkError(f"{errno.errorcode.get(-number, number)}: {os.strerror(-number)}")
