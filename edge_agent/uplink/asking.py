"""One request over HTTP to the stream server, by the way that its WebSockets go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edge_agent.config.server_url import http_url, is_secure
from edge_agent.host.look_up import run
from edge_agent.uplink.http_answer import MAX_HEAD_BYTES, HttpAnswer, is_whole, parse_answer
from edge_agent.uplink.keys import trusting
from edge_agent.uplink.lost import obstacle_of
from edge_agent.uplink.obstacle import Obstacle, Way, by_proxy_answer, obstacle
from edge_agent.uplink.opening import HAPPY_EYEBALLS, look_closer
from edge_agent.uplink.proxy import connect_request, proxy_for, without_password

MAX_BODY_BYTES: Final = 64 * 1024
_HEARTBEAT_PATH: Final = "/api/v1/agents/heartbeat"
_MAX_BYTES: Final = MAX_HEAD_BYTES + MAX_BODY_BYTES
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Asking:
    """Asks the server at `url`, and follows no redirect. UplinkError where `ca_file` cannot be used.

    `timeout_seconds` is for all that is asked together.
    """

    def __init__(self, url: str, ca_file: Path | None, timeout_seconds: float) -> None:
        self._url = url
        self._proxy = proxy_for(url)
        self.way = Way(url, without_password(self._proxy))
        self._timeout_seconds = timeout_seconds
        self._until_seconds = time.monotonic() + timeout_seconds
        self._tls = trusting(ca_file) if is_secure(url) else None
        if ca_file is not None and self._tls is None:
            trusting(ca_file)  # a mistake there is said, though nothing needs it

    def ask(self, path: str, *, body: bytes | None = None, token: str | None = None) -> HttpAnswer | Obstacle:
        """The answer to a GET, or to a POST of a JSON `body`; what was in the way where there is none.

        Not for the event loop.
        """
        return run(self._ask(_request(http_url(self._url, path), body, token)))

    def ask_about(self, token: str) -> HttpAnswer | Obstacle:
        """What the server says of an agent token: an empty heartbeat is refused for its content, and before
        that for its token where that is void."""
        return self.ask(_HEARTBEAT_PATH, body=b"{}", token=token)

    async def _ask(self, request: bytes) -> HttpAnswer | Obstacle:
        try:
            left_seconds = self._until_seconds - time.monotonic()
            async with asyncio.timeout(left_seconds), self._connection() as streams:
                content = await _exchange(streams, request)
        except (OSError, ValueError, EOFError) as error:
            return await look_closer(self.way, obstacle_of(self.way, error, seconds=self._timeout_seconds))
        except _ProxyError as error:
            return error.seen
        answer = parse_answer(content)
        if answer is not None:
            return answer
        if content.startswith(b"\x15\x03"):
            return obstacle(self.way, "tls_port", "it answers in TLS")
        if content:
            return obstacle(self.way, "not_a_stream_server", "it does not speak HTTP")
        return await look_closer(self.way, obstacle(self.way, "mute", "it closes the connection"))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Streams]:
        """To the server, with TLS where that is wanted."""
        parts = urlsplit(self._url)
        host, port = parts.hostname or "", parts.port or (443 if is_secure(self._url) else 80)
        if self._proxy is None:
            streams = await asyncio.open_connection(host, port, ssl=self._tls, **HAPPY_EYEBALLS)
        else:
            streams = await self._through(self._proxy, host, port)
        try:
            yield streams
        finally:
            streams[1].transport.abort()

    async def _through(self, proxy: str, host: str, port: int) -> _Streams:
        """To `host` through an HTTP proxy. _ProxyError; ValueError for another kind of proxy."""
        parts = urlsplit(proxy)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise ValueError(f"it is a proxy of the kind {parts.scheme}")
        secure = parts.scheme == "https"
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port or (443 if secure else 80), ssl=secure or None, **HAPPY_EYEBALLS
        )
        try:
            writer.write(connect_request(proxy, host, port))
            await self._opened(reader)
            if self._tls is not None:
                await writer.start_tls(self._tls, server_hostname=host)
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer

    async def _opened(self, reader: asyncio.StreamReader) -> None:
        """The proxy says that the way is open. _ProxyError."""
        try:
            answer = parse_answer(await reader.readuntil(b"\r\n\r\n"))
        except (EOFError, asyncio.LimitOverrunError):
            answer = None
        if answer is None:
            raise _ProxyError(obstacle(self.way, "proxy_silent", "it does not answer in HTTP"))
        if not 200 <= answer.status < 300:
            raise _ProxyError(by_proxy_answer(self.way, answer.status))


class _ProxyError(Exception):
    """The proxy does not open the way."""

    def __init__(self, seen: Obstacle) -> None:
        self.seen = seen
        super().__init__(seen.text)


async def _exchange(streams: _Streams, request: bytes) -> bytes:
    reader, writer = streams
    writer.write(request)
    content = b""
    while len(content) < _MAX_BYTES and not is_whole(content):
        more = await reader.read(_MAX_BYTES - len(content))
        if not more:
            break
        content += more
    return content


def _request(url: str, body: bytes | None, token: str | None) -> bytes:
    parts = urlsplit(url)
    lines = [f"{'GET' if body is None else 'POST'} {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += ["Accept: application/json", "Connection: close"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")
