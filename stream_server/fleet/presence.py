"""Which agents are there: online while bytes arrive, offline 70 s after the last or 5 s after a close."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Literal

SILENCE_SECONDS: Final = 70.0
CLOSE_SECONDS: Final = 5.0

Reason = Literal["connected", "heartbeat", "silence", "closed", "server_started"]


@dataclass(frozen=True, slots=True)
class Transition:
    """An agent came or went; `seen_at_ns` is the wall clock at its last byte, 0 when it was never seen."""

    agent_id: str
    online: bool
    reason: Reason
    seen_at_ns: int


@dataclass(slots=True)
class _Agent:
    online: bool = False
    reason: Reason = "server_started"
    seen_at_ns: int = 0
    last_byte_seconds: float = 0.0
    closed_at_seconds: float | None = None
    connections: set[Hashable] = field(default_factory=set)

    def deadline(self) -> float:
        silent = self.last_byte_seconds + SILENCE_SECONDS
        return (
            silent if self.closed_at_seconds is None else min(silent, self.closed_at_seconds + CLOSE_SECONDS)
        )


class Presence:
    """Online state of every agent. `now_seconds` is a monotonic clock, `wall_ns` UTC; both may repeat."""

    def __init__(self) -> None:
        self._agents: dict[str, _Agent] = {}
        self._changed: list[Transition] = []

    def restore(self, agent_id: str, seen_at_ns: int) -> None:
        """The agent was last seen then, before this server started."""
        self._agents.setdefault(agent_id, _Agent(seen_at_ns=seen_at_ns))

    def opened(self, agent_id: str, connection: Hashable, now_seconds: float, wall_ns: int) -> None:
        """The agent has upgraded a WebSocket."""
        agent = self._agents.setdefault(agent_id, _Agent())
        agent.connections.add(connection)
        self.seen(agent_id, now_seconds, wall_ns)

    def seen(self, agent_id: str, now_seconds: float, wall_ns: int) -> bool:
        """Bytes came, over a connection or as a REST heartbeat. True when `changes` has some to tell."""
        agent = self._agents.get(agent_id)
        if agent is None:
            agent = self._agents[agent_id] = _Agent()
        agent.last_byte_seconds = max(agent.last_byte_seconds, now_seconds)
        agent.seen_at_ns = max(agent.seen_at_ns, wall_ns)
        agent.closed_at_seconds = None
        if agent.online:
            return bool(self._changed)
        self._change(agent_id, agent, online=True, reason="connected" if agent.connections else "heartbeat")
        return True

    def closed(self, agent_id: str, connection: Hashable, now_seconds: float) -> None:
        """A connection of the agent has ended, in whatever way."""
        agent = self._agents.get(agent_id)
        if agent is None or connection not in agent.connections:
            return
        agent.connections.discard(connection)
        if not agent.connections:
            agent.closed_at_seconds = now_seconds

    def due(self, now_seconds: float) -> list[Transition]:
        """`changes`, and whoever has been silent or gone for too long now. Call it every second."""
        for agent_id, agent in self._agents.items():
            if agent.online and agent.deadline() <= now_seconds:
                silent = agent.last_byte_seconds + SILENCE_SECONDS <= now_seconds
                self._change(agent_id, agent, online=False, reason="silence" if silent else "closed")
        return self.changes()

    def changes(self) -> list[Transition]:
        """What has changed since the last call, in order."""
        changed, self._changed = self._changed, []
        return changed

    def of(self, agent_id: str) -> Transition:
        """How the agent stands and why."""
        agent = self._agents.get(agent_id) or _Agent()
        return Transition(agent_id, agent.online, agent.reason, agent.seen_at_ns)

    def online_count(self) -> int:
        """How many agents are online."""
        return sum(agent.online for agent in self._agents.values())

    def _change(self, agent_id: str, agent: _Agent, *, online: bool, reason: Reason) -> None:
        agent.online = online
        agent.reason = reason
        self._changed.append(Transition(agent_id, online, reason, agent.seen_at_ns))
