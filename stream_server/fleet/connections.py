"""Which WebSocket speaks for an agent: the newest upgrade, one per endpoint (SPEC 1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

C = TypeVar("C", bound=Hashable)
Endpoint = Literal["control", "data", "relay"]

DUPLICATE_WINDOW_SECONDS: Final = 600.0
_MOST_REMEMBERED: Final = 16


@dataclass(frozen=True, slots=True)
class Swap(Generic[C]):
    """What an upgrade displaced: close `replaced` and read nothing more from it.

    `duplicate_identity`: two machines use one agent_id. `is_news`: people have not been told of it within ten
    minutes.
    """

    replaced: C | None
    duplicate_identity: bool
    is_news: bool = False


class Connections(Generic[C]):
    """The current connection of each (agent_id, endpoint)."""

    def __init__(self) -> None:
        self._current: dict[tuple[str, Endpoint], C] = {}
        self._starts: dict[C, str] = {}
        self._displaced: dict[tuple[str, Endpoint], deque[tuple[float, str]]] = {}
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
        begin_seconds = now_seconds - DUPLICATE_WINDOW_SECONDS
        start_id = self._starts.get(replaced)
        duplicate = start_id is not None and self._has_come_back(key, start_id, now_seconds)
        is_news = duplicate and self._told.get(agent_id, float("-inf")) < begin_seconds
        if is_news:
            self._told[agent_id] = now_seconds
        return Swap(replaced, duplicate, is_news)

    def greeted(self, connection: C, start_id: str) -> None:
        """`connection`, which is open, has said which start of the agent it is of."""
        self._starts[connection] = start_id

    def _has_come_back(self, key: tuple[str, Endpoint], start_id: str, now_seconds: float) -> bool:
        """Whether a start that is displaced now was displaced before, and another one after it.

        A process that has ended never does that, so both are alive: it takes three swaps to see it. One
        machine whose connections break displaces itself, and one whose agent is started again and again has
        a new start each time.
        """
        displaced = self._displaced.setdefault(key, deque(maxlen=_MOST_REMEMBERED))
        while displaced and displaced[0][0] < now_seconds - DUPLICATE_WINDOW_SECONDS:
            displaced.popleft()
        if not displaced or displaced[-1][1] != start_id:
            displaced.append((now_seconds, start_id))
        return start_id in [known for _, known in list(displaced)[:-1]]

    def is_current(self, agent_id: str, endpoint: Endpoint, connection: C) -> bool:
        """Whether what `connection` says still counts."""
        return self._current.get((agent_id, endpoint)) == connection

    def current(self, agent_id: str, endpoint: Endpoint) -> C | None:
        """The connection to reach the agent through, None when there is none."""
        return self._current.get((agent_id, endpoint))

    def gone(self, agent_id: str, endpoint: Endpoint, connection: C) -> None:
        """`connection` has ended; a newer one is not touched."""
        self._starts.pop(connection, None)
        if self.is_current(agent_id, endpoint, connection):
            del self._current[agent_id, endpoint]

    def of_agent(self, agent_id: str) -> list[C]:
        """Every open connection of the agent."""
        return [connection for key, connection in self._current.items() if key[0] == agent_id]
