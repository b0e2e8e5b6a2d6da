"""A server that does what no server should, to whoever opens a WebSocket: for one agent to survive."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from websockets.asyncio.server import ServerConnection, serve

Behaviour = Callable[[ServerConnection], Awaitable[None]]


class HostileServer:
    """Listens on `port` (0 picks one) and treats the n-th connection of a path with `paths[path][n]`.

    The last behaviour of a path goes for all later connections too. A context manager.
    """

    def __init__(self, paths: Mapping[str, Sequence[Behaviour]], port: int = 0) -> None:
        self.port = port
        self._paths = paths
        self._seen = dict.fromkeys(paths, 0)
        self._loop: Final = asyncio.new_event_loop()
        self._stop: Final = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with serve(self._treat, "127.0.0.1", self.port, compression=None, max_size=None) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()

    async def _treat(self, connection: ServerConnection) -> None:
        path = connection.request.path if connection.request else ""
        behaviours = self._paths.get(path)
        if behaviours is None:
            return
        number = self._seen[path]
        self._seen[path] += 1
        await behaviours[min(number, len(behaviours) - 1)](connection)
