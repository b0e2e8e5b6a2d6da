"""Which WebSocket speaks for an agent: the newest upgrade, one per endpoint (SPEC 1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

C = TypeVar("C", bound=Hashable)
Endpoint = Literal["control", "data"]

DUPLICATE_SWAPS: Final = 3
DUPLICATE_WINDOW_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Swap(Generic[C]):
    """What an upgrade displaced: close `replaced` and read nothing more from it.

    `duplicate_identity`: from the third swap within ten minutes on, two machines use one agent_id. `is_news`:
    people have not been told of it within this time.
    """

    replaced: C | None
    duplicate_identity: bool
    is_news: bool = False


class Connections(Generic[C]):
    """The current connection of each (agent_id, endpoint)."""

    def __init__(self) -> None:
        self._current: dict[tuple[str, Endpoint], C] = {}
        self._swaps: dict[tuple[str, Endpoint], deque[float]] = {}
        self._told: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._current)

    def upgraded(self, agent_id: str, endpoint: Endpoint, connection: C, now_seconds: float) -> Swap[C]:
        """`connection` speaks for the agent from now on."""
        key = (agent_id, endpoint)
        replaced = self._current.get(key)
        self._current[key] = connection
        if replaced is None:
            return Swap(None, duplicate_identity=False)
        swaps = self._swaps.setdefault(key, deque(maxlen=DUPLICATE_SWAPS))
        swaps.append(now_seconds)
        begin_seconds = now_seconds - DUPLICATE_WINDOW_SECONDS
        duplicate = len(swaps) == DUPLICATE_SWAPS and swaps[0] >= begin_seconds
        is_news = duplicate and self._told.get(agent_id, float("-inf")) < begin_seconds
        if is_news:
            self._told[agent_id] = now_seconds
        return Swap(replaced, duplicate, is_news)

    def is_current(self, agent_id: str, endpoint: Endpoint, connection: C) -> bool:
        """Whether what `connection` says still counts."""
        return self._current.get((agent_id, endpoint)) == connection

    def current(self, agent_id: str, endpoint: Endpoint) -> C | None:
        """The connection to reach the agent through, None when there is none."""
        return self._current.get((agent_id, endpoint))

    def gone(self, agent_id: str, endpoint: Endpoint, connection: C) -> None:
        """`connection` has ended; a newer one is not touched."""
        if self.is_current(agent_id, endpoint, connection):
            del self._current[agent_id, endpoint]

    def of_agent(self, agent_id: str) -> list[C]:
        """Every open connection of the agent."""
        return [connection for key, connection in self._current.items() if key[0] == agent_id]
