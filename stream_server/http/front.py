"""The door to the network: every connection has a number and a clock, every body a bound, on every route."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, runtime_checkable

from aiohttp import hdrs, web

from stream_server.access.access import Credential
from stream_server.access.rate_limit import address_key
from stream_server.config import LimitsSection
from stream_server.errors import ApiError
from stream_server.http.places import Places
from stream_server.metrics import Metrics

MAX_BODY_BYTES: Final = 256 * 1024
MAX_OPEN_BODY_BYTES: Final = 16 * 1024
"""Where anybody may send one: more than any of these that means something has."""
LOOK_SECONDS: Final = 1.0
_SHARES: Final = 4


@runtime_checkable
class Held(Protocol):
    """A connection, as the door sees it."""

    def __hash__(self) -> int:
        """Itself and no other."""

    def overdue(self, now_seconds: float, limits: LimitsSection) -> str | None:
        """Why it has to end now."""

    def abort(self) -> None:
        """End it, whatever it does."""


class Front:
    """Who is connected, and whose bodies are being read. `most`: connections, as descriptors allow them.

    `trust_forwarded`: strangers come from the address of our proxy, which nobody must be refused for.
    """

    def __init__(
        self, limits: LimitsSection, metrics: Metrics, most: int, *, trust_forwarded: bool = False
    ) -> None:
        self.limits: Final = limits
        self._metrics = metrics
        self.connections: Final[Places[Held]] = Places(
            most,
            # It may have all its streams, and ask beside them.
            per_credential=max(limits.connections_per_credential, 2 * limits.streams_per_credential),
            per_address=most if trust_forwarded else min(limits.connections_per_address, max(1, most // 2)),
        )
        share = limits.body_bytes // _SHARES
        self.bodies: Final[Places[Held]] = Places(limits.body_bytes, per_credential=share, per_address=share)

    async def run(self) -> None:
        """Ends what has waited for too long, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now_seconds = loop.time()
            for connection in self.connections:
                reason = connection.overdue(now_seconds, self.limits)
                if reason is not None:
                    self._end(connection, reason)

    def opened(self, connection: Held, address: str | None) -> bool:
        """Whether there is room for it; perhaps since another has ended for it."""
        going = self.connections.take(connection, 1, address_key(address), is_known=False)
        if going is None:
            self._metrics.connections_ended.labels("full").inc()
            return False
        for other in going:
            self._end(other, "displaced")
        return True

    def asked(self, connection: Held) -> None:
        """Its request is here: now it waits for us, and who asks for nothing has to go before it."""
        self.connections.has_come(connection)

    def closed(self, connection: Held) -> None:
        """It is gone."""
        self.connections.give_back(connection)
        self.bodies.give_back(connection)

    def signed_in(self, request: web.Request, who: Credential) -> None:
        """The connection of this request is no stranger's. ApiError 429 when there are too many of `who`."""
        if not self.connections.know(_connection(request), who.subject):
            self._metrics.connections_ended.labels("credential").inc()
            message = "too many connections are open with this credential; close one"
            raise ApiError(429, "TOO_MANY_CONNECTIONS", message, headers={"Retry-After": "5"})

    async def body(self, request: web.Request, who: Credential | None, address: str) -> bytes:
        """The body of a request from there that was let in. ApiError 408, 413, 415 or 503."""
        most = MAX_OPEN_BODY_BYTES if who is None else MAX_BODY_BYTES
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", "a body is sent as it is, without Content-Encoding")
        length = request.content_length
        if length is not None and length > most:
            raise _too_large(most)
        connection = _connection(request)
        owner = address_key(address) if who is None else who.subject
        much = most if length is None else length
        going = self.bodies.take(connection, much, owner, is_known=who is not None)
        if going is None:
            message = "too many bodies are being sent now"
            raise ApiError(503, "TOO_MANY_BODIES", message, headers={"Retry-After": "5"})
        for other in going:
            self._end(other, "displaced")
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                return await _read(request, most)
        except TimeoutError:
            self._metrics.connections_ended.labels("body").inc()
            message = f"a body has to be here within {self.limits.body_seconds:g} seconds"
            raise ApiError(408, "REQUEST_TIMEOUT", message) from None
        finally:
            self.bodies.give_back(connection)

    def _end(self, connection: Held, reason: str) -> None:
        self._metrics.connections_ended.labels(reason).inc()
        self.connections.give_back(connection)
        connection.abort()


async def _read(request: web.Request, most: int) -> bytes:
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > most:
            raise _too_large(most)
    return bytes(body)


def _too_large(most: int) -> ApiError:
    return ApiError(413, "BODY_TOO_LARGE", f"a body has at most {most} bytes here")


def _connection(request: web.Request) -> Held:
    connection: object = request.protocol
    assert isinstance(connection, Held)
    return connection
