"""Opens WebSockets to the stream server, with what keeps live frames from queueing behind backlog."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from edge_agent.config.server_url import is_loopback, websocket_url
from edge_agent.errors import UplinkError
from edge_agent.uplink.counts import CountedConnection, UplinkCounts
from edge_agent.uplink.lost import OPEN_TIMEOUT_SECONDS, lost_by_answer, lost_unopened

MAX_DOWN_BYTES: Final = 256 * 1024
# What waits in our buffers and in the kernel's goes out before anything newer: little, so that live frames
# do not queue behind backlog on a slow link.
_WRITE_LIMIT_BYTES: Final = 16 * 1024
_TCP_NOTSENT_LOWAT: Final = 25  # linux/tcp.h; the socket module has no name for it


class ServerDoor:
    """The way to the server at `url`. UplinkError where `ca_file` cannot be used."""

    def __init__(self, url: str, token: str, ca_file: Path | None, counts: UplinkCounts) -> None:
        self.url = url
        self._token = token
        self._tls = _tls_context(url, ca_file)
        self._counts = counts

    async def open(self, path: str) -> ClientConnection:
        """A new connection to `path`, counted. LostError."""
        self._counts.attempts += 1
        try:
            connection = await connect(
                websocket_url(self.url, path),
                additional_headers={"Authorization": f"Bearer {self._token}"},
                compression=None,  # the hop has its own, with a context that fits packets
                max_size=MAX_DOWN_BYTES,
                write_limit=_WRITE_LIMIT_BYTES,
                open_timeout=OPEN_TIMEOUT_SECONDS,
                ssl=self._tls,
                # A proxy of the environment is for the network; this machine itself is reached directly.
                proxy=None if is_loopback(self.url) else True,
                create_connection=CountedConnection,
            )
        except InvalidStatus as answer:
            raise lost_by_answer(self.url, answer) from answer
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
            raise lost_unopened(self.url, error) from error
        assert isinstance(connection, CountedConnection)
        connection.counts = self._counts
        _keep_kernel_queue_short(connection)
        return connection


def _keep_kernel_queue_short(connection: ClientConnection) -> None:
    opened: socket.socket | None = connection.transport.get_extra_info("socket")
    if opened is not None:
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _WRITE_LIMIT_BYTES)


def _tls_context(url: str, ca_file: Path | None) -> ssl.SSLContext | None:
    if websocket_url(url, "/").startswith("ws:"):
        return None
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        reason = error.strerror or str(error)
        raise UplinkError(
            f"{ca_file} cannot be used: {reason}; name a PEM file with the server's CA"
        ) from error
