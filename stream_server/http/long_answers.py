"""Answers that go on for as long as their client reads: made in small steps, sent as they are taken.

Whatever a route gives as `LongAnswer` has a slot, a thread that nobody else waits for, a send timeout, and an
end when its credential or the server ends. An answer that has begun and cannot go on is cut off, so that
nobody takes it for the whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from aiohttp import web

from stream_server import clock
from stream_server.access.access import Access, Credential
from stream_server.cutting import cut
from stream_server.errors import StorageError

T = TypeVar("T")
_LOOK_SECONDS: Final = 1.0
_HELD_BYTES: Final = 1_000_000
_logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LongAnswer:
    """What is to be sent. `headers` and every step of the pieces run in the thread for long answers.

    `begin` gives the pieces and is not asked for a HEAD. A piece takes some 10 ms to make, since the thread
    holds the interpreter meanwhile, and some 100 kB, since one is held for each client.
    """

    content_type: str
    headers: Callable[[], Mapping[str, str]]
    begin: Callable[[], Awaitable[Iterator[bytes]]]


class LongAnswers:
    """The one way out for long answers. A client that takes no byte for `send_timeout_seconds` is cut off.

    There is one thread: what it makes for one client waits at most for a step of each other.
    """

    def __init__(self, access: Access, send_timeout_seconds: float) -> None:
        self.send_timeouts = 0
        self._access = access
        self._send_timeout_seconds = send_timeout_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="long-answers")

    @property
    def held_bytes(self) -> int:
        """About what open answers take: a page that was read, and a piece that was not taken yet."""
        return self._access.open_slots("downloads") * _HELD_BYTES

    def close(self) -> None:
        """Take no more; wait for the step that is being made."""
        self._thread.shutdown(cancel_futures=True)

    async def serve(
        self, request: web.Request, credential: Credential, answer: LongAnswer
    ) -> web.StreamResponse:
        """Send it to its end, or as far as it goes. ApiError 429, StorageError before it has begun."""
        with self._access.slot("downloads", credential):
            headers = await self._step(answer.headers)
            pieces = iter(()) if request.method == "HEAD" else await answer.begin()
            response = web.StreamResponse(
                headers={"Content-Type": answer.content_type, "Cache-Control": "no-store", **headers}
            )
            await response.prepare(request)
            transport = request.transport
            if request.method != "HEAD" and transport is not None:
                await self._send(response, transport, pieces)
        return response

    async def _send(
        self, response: web.StreamResponse, transport: asyncio.Transport, pieces: Iterator[bytes]
    ) -> None:
        whole = False
        try:
            while (piece := await self._step(lambda: next(pieces, None))) is not None:
                if piece:
                    await self._write(response, transport, piece)
            await response.write_eof()
            whole = True
        except ConnectionError:
            pass  # who has read enough, as `head -1` has, goes: that is no error
        except TimeoutError:
            self.send_timeouts += 1
        except StorageError as error:
            _logger.error("an answer was cut off: %s", error)
        except Exception:
            _logger.exception("an answer was cut off")
        finally:
            if not whole:
                cut(transport)

    async def _write(self, response: web.StreamResponse, transport: asyncio.Transport, piece: bytes) -> None:
        """Wait until there is room for more. TimeoutError for a client that takes nothing."""
        writing = asyncio.ensure_future(response.write(piece))
        left, progress_at = -1, clock.monotonic_seconds()
        try:
            while not (await asyncio.wait((writing,), timeout=_LOOK_SECONDS))[0]:
                now, before, left = clock.monotonic_seconds(), left, transport.get_write_buffer_size()
                if left != before:
                    progress_at = now
                elif now - progress_at >= self._send_timeout_seconds:
                    raise TimeoutError
            writing.result()
        finally:
            writing.cancel()

    async def _step(self, make: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, make)
