"""The end of a connection that must not go on, not even with what the kernel has been given."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Final

# On, and no time to send what is left (socket(7), SO_LINGER).
_RESET: Final = struct.pack("ii", 1, 0)


def cut(transport: asyncio.Transport) -> None:
    """Close it with a reset: the other side gets nothing more, and takes no part for the whole."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):  # the other side has gone, and the socket with it
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
