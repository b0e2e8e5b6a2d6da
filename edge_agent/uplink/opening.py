"""Opens WebSockets to the stream server, with what keeps live frames from queueing behind backlog."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from can_stream.protocol.control import SUBPROTOCOLS
from edge_agent.config.server_url import is_secure, websocket_url
from edge_agent.uplink.counts import CountedConnection, UplinkCounts
from edge_agent.uplink.keys import Keys
from edge_agent.uplink.lost import OPEN_TIMEOUT_SECONDS, LostError, lost_by, obstacle_of
from edge_agent.uplink.obstacle import Obstacle, Way, obstacle
from edge_agent.uplink.patience import MOST_FRAMES, Patience
from edge_agent.uplink.proxy import proxy_for, without_password

MAX_DOWN_BYTES: Final = 256 * 1024
# What waits in our buffers and in the kernel's goes out before anything newer: little, so that live frames
# do not queue behind backlog on a slow link.
_WRITE_LIMIT_BYTES: Final = 16 * 1024
_TCP_NOTSENT_LOWAT: Final = 25  # linux/tcp.h; the socket module has no name for it
# RFC 8305, section 5: the next address, of the other family, is tried beside the first after so long.
HAPPY_EYEBALLS: Final[dict[str, Any]] = {"happy_eyeballs_delay": 0.25, "interleave": 1}
# For the other side's goodbye: what was to be sent is acknowledged by then, or will be sent again.
CLOSE_TIMEOUT_SECONDS: Final = 0.5
_TLS_PROBE_SECONDS: Final = 3.0
_MAX_HEARD_BYTES: Final = 4096


class StraightConnect(connect):
    """A redirect is an answer, not an order: the token goes only where it was meant to go."""

    def process_redirect(self, exc: Exception) -> Exception:
        """Never followed."""
        return exc


class _HeardConnection(CountedConnection):
    """Keeps the beginning of what the other side says, for when that is no WebSocket."""

    heard = b""

    def data_received(self, data: bytes) -> None:
        """As it was."""
        if len(self.heard) < _MAX_HEARD_BYTES:
            self.heard += data[:_MAX_HEARD_BYTES]
        super().data_received(data)


class ServerDoor:
    """The way to the server at `url`. UplinkError where there are no CAs to judge it by."""

    def __init__(self, url: str, keys: Keys, counts: UplinkCounts) -> None:
        self.url = url
        self._keys = keys
        if is_secure(url):
            _ = keys.tls
        self._counts = counts

    @property
    def way(self) -> Way:
        """Where it leads, as the environment says now."""
        return Way(
            self.url, without_password(proxy_for(self.url)), self._keys.token_file, self._keys.agent_id
        )

    async def open(
        self, path: str, max_down_bytes: int = MAX_DOWN_BYTES, most_frames: int = MOST_FRAMES
    ) -> ClientConnection:
        """A new connection to `path`, counted. LostError.

        `max_down_bytes`: of one message of the server. `most_frames`: see `Patience`.
        """
        self._counts.attempts += 1
        proxy, way = proxy_for(self.url), self.way
        made: list[_HeardConnection] = []

        def make(*arguments: Any, **options: Any) -> _HeardConnection:
            made.append(_HeardConnection(*arguments, patience=Patience(most_frames), **options))
            return made[-1]

        try:
            connection = await StraightConnect(
                websocket_url(self.url, path),
                additional_headers={"Authorization": f"Bearer {self._keys.token}"},
                compression=None,  # the hop has its own, with a context that fits packets
                max_size=max_down_bytes,
                write_limit=_WRITE_LIMIT_BYTES,
                open_timeout=OPEN_TIMEOUT_SECONDS,
                close_timeout=CLOSE_TIMEOUT_SECONDS,
                ssl=self._keys.tls if is_secure(self.url) else None,
                proxy=proxy,
                create_connection=make,  # type: ignore[arg-type]
                **HAPPY_EYEBALLS,
                subprotocols=[Subprotocol(name) for name in SUBPROTOCOLS],
            )
        except (OSError, TimeoutError, WebSocketException, ImportError, ValueError) as error:
            heard = made[0].heard if made else b""
            raise await self._lost(way, error, heard) from error
        assert isinstance(connection, _HeardConnection)
        connection.counts = self._counts
        connection.heard = b""
        _keep_kernel_queue_short(connection)
        return connection

    async def _lost(self, way: Way, error: Exception, heard: bytes) -> LostError:
        if isinstance(error, ssl.SSLCertVerificationError):
            self._keys.forget_trust()
        return lost_by(await look_closer(way, obstacle_of(way, error, heard, OPEN_TIMEOUT_SECONDS)))


async def look_closer(way: Way, seen: Obstacle) -> Obstacle:
    """`seen`, or that TLS is spoken where clear text gets no answer: nothing else tells that."""
    if seen.fault != "mute" or way.is_secure or way.proxy is not None:
        return seen
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    parts = urlsplit(way.url)
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_TLS_PROBE_SECONDS):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or 80, ssl=blind, server_hostname=parts.hostname, **HAPPY_EYEBALLS
            )
        writer.transport.abort()
        return obstacle(way, "tls_port", "it speaks TLS only")
    return seen


def _keep_kernel_queue_short(connection: ClientConnection) -> None:
    opened: socket.socket | None = connection.transport.get_extra_info("socket")
    if opened is not None:
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _WRITE_LIMIT_BYTES)
