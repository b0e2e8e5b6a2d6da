"""Events about dongles, for every stream that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakSet

from stream_server.moment import Moment
from stream_server.streams.hub import StreamHub
from stream_server.streams.ring import SharedText
from stream_server.streams.sse_format import encode_shared


class AgentEvents:
    """What is said once is kept once, in however many streams it is read, on its agent's account."""

    def __init__(self, hub: StreamHub) -> None:
        self._hub = hub
        self._shared: dict[str, WeakSet[SharedText]] = {}

    def emit(
        self, agent_id: str, dongle_ids: Iterable[str], event: str, payload: Mapping[str, Any], now: Moment
    ) -> None:
        """An event about these dongles of an agent, once in each stream."""
        rest = encode_shared(event, payload)
        self._shared.setdefault(agent_id, WeakSet()).add(rest)
        for stream in self._hub.showing(dongle_ids):
            stream.emit(event, rest, now)

    def shared_bytes(self, agent_id: str) -> int:
        """About what its events take, beside their places in streams."""
        return sum(len(rest.text) for rest in self._shared.get(agent_id, ()))
