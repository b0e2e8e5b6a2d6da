"""A status socket at which an agent says what a test has it say."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from can_stream.protocol.control import ServiceStatus
from edge_agent.relay.figures import RelayFigures
from edge_agent.status.document import AgentStatus, DongleStatus
from edge_agent.status.socket import serving_status


@contextmanager
def agent_at(
    path: Path,
    *relays: RelayFigures,
    dongles: Sequence[DongleStatus] = (),
    services: Sequence[ServiceStatus] = (),
) -> Iterator[None]:
    """An agent van7 that says this of itself at the socket `path`, in a loop of its own."""
    status = AgentStatus(
        "van7", "1", "0" * 16, 1, "2025-01-01T00:00:00Z", 1.0, True, "http://x",
        [*services], [*dongles], relays=list(relays),
    )  # fmt: skip
    loop, ready = asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        async with serving_status(path, lambda: status):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
