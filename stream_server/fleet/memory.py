"""The ledger of memory: what is held of each kind and for each agent, and what follows from it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from stream_server import clock
from stream_server.fleet.fleet import OVER_SHARE, Fleet
from stream_server.fleet.shares import Shares

SLOW_SECONDS: Final = 0.25
"""How long a message waits of an agent that is over its share."""
Read = Callable[[], int]
_logger: Final = logging.getLogger(__name__)


class Memory:
    """`others`: what is held of each kind, in bytes, beside what agents have in consoles."""

    def __init__(self, fleet: Fleet, whole_bytes: int, others: Mapping[str, Read]) -> None:
        self.shares: Final = Shares(whole_bytes)
        self.kinds: Final[Mapping[str, Read]] = {
            "consoles": lambda: sum(own for own, _ in self._held()),
            "shared_events": lambda: sum(shared for _, shared in self._held()),
            **others,
        }
        self._fleet = fleet
        self._others = others

    def ledger(self) -> dict[str, int]:
        """Bytes by kind."""
        return {kind: read() for kind, read in self.kinds.items()}

    def _held(self) -> Iterator[tuple[int, int]]:
        return map(self._fleet.held_bytes, self._fleet.agents())

    def is_over(self, agent_id: str) -> bool:
        """Whether it takes more than its share, so that its messages wait."""
        return agent_id in self.shares.over

    def tick(self) -> None:
        """See who takes more than its share. Call it every second."""
        fleet = self._fleet
        used = {agent_id: sum(fleet.held_bytes(agent_id)) for agent_id in fleet.agents()}
        told, cut = self.shares.look(used, sum(read() for read in self._others.values()))
        for agent_id, share in self.shares.over.items():
            self._shrink(agent_id, share)
        for agent_id in told:
            self._tell(agent_id, used[agent_id])
        for agent_id in cut:
            reason = "this agent takes more of the server's memory than its share"
            fleet.dismiss(fleet.connections.of_agent(agent_id), OVER_SHARE, reason)

    def _shrink(self, agent_id: str, share_bytes: int) -> None:
        """Its consoles forget what is oldest, each down to its part."""
        dongles, now = self._fleet.dongles_of(agent_id), clock.now()
        for dongle in dongles:
            self._fleet.stream(dongle.dongle_id).shrink(share_bytes // len(dongles), now)

    def _tell(self, agent_id: str, used_bytes: int) -> None:
        message = (
            f"agent {agent_id} takes more of the server's memory than its share: its consoles remember less, "
            "and what it says is read more slowly. It sends very much, or has very many dongles: see "
            "limits.memory_bytes of the server"
        )
        _logger.warning("%s", message)
        details = {"used_bytes": used_bytes, "share_bytes": self.shares.over[agent_id]}
        payload = {"level": "warning", "source": "server", "message": message, "details": details}
        self._fleet.log(agent_id, payload)
