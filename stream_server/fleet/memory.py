"""The ledger of memory: what is held of each kind, and for each agent and group, and what follows from it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from can_stream.text.timestamps import format_timestamp
from stream_server import clock
from stream_server.fleet.fleet import OVER_SHARE, Fleet
from stream_server.fleet.shares import Holder, Shares
from stream_server.streams.hub import StreamHub

SLOW_SECONDS: Final = 0.25
"""How long a message waits of an agent that is over its share."""
Read = Callable[[], int]
_logger: Final = logging.getLogger(__name__)


class Memory:
    """`others`: what is held of each kind, in bytes, beside what is held in consoles.

    The console of a group has a share of its own: who floods it by one dongle takes nothing from the agent of
    the other.
    """

    def __init__(self, fleet: Fleet, hub: StreamHub, whole_bytes: int, others: Mapping[str, Read]) -> None:
        self.shares: Final = Shares(whole_bytes)
        self.kinds: Final[Mapping[str, Read]] = {
            "consoles": lambda: sum(own for own, _ in self._held()) + sum(self._held_by_groups().values()),
            "shared_events": lambda: sum(shared for _, shared in self._held()),
            **others,
        }
        self._fleet = fleet
        self._hub = hub
        self._others = others

    def ledger(self) -> dict[str, int]:
        """Bytes by kind."""
        return {kind: read() for kind, read in self.kinds.items()}

    def _held(self) -> Iterator[tuple[int, int]]:
        return map(self._fleet.held_bytes, self._fleet.agents())

    def _held_by_groups(self) -> dict[Holder, int]:
        return {("group", stream.subject.name.id): stream.own_bytes for stream in self._hub.groups()}

    def is_over(self, agent_id: str) -> bool:
        """Whether it takes more than its share, so that its messages wait."""
        return ("agent", agent_id) in self.shares.over

    def tick(self) -> None:
        """See who takes more than its share. Call it every second."""
        fleet = self._fleet
        used: dict[Holder, int] = {("agent", one): sum(fleet.held_bytes(one)) for one in fleet.agents()}
        used |= self._held_by_groups()
        told, cut = self.shares.look(used, sum(read() for read in self._others.values()))
        for holder, share in self.shares.over.items():
            self._shrink(holder, share)
        for holder in told:
            self._tell(holder, {"used_bytes": used[holder], "share_bytes": self.shares.over[holder]})
        for kind, name in cut:
            if kind == "agent":
                reason = "this agent takes more of the server's memory than its share"
                fleet.dismiss(fleet.connections.of_agent(name), OVER_SHARE, reason)

    def _shrink(self, holder: Holder, share_bytes: int) -> None:
        """Its consoles forget what is oldest, each down to its part."""
        kind, name = holder
        streams = (
            [self._hub.group(name)]
            if kind == "group"
            else [self._fleet.stream(dongle.dongle_id) for dongle in self._fleet.dongles_of(name)]
        )
        now = clock.now()
        for stream in streams:
            stream.shrink(share_bytes // len(streams), now)

    def _tell(self, holder: Holder, details: dict[str, Any]) -> None:
        kind, name = holder
        message = f"{kind} {name} takes more of the server's memory than its share: " + (
            "its console remembers less. Its dongles send very much: see limits.memory_bytes of the server"
            if kind == "group"
            else "its consoles remember less, and what it says is read more slowly. It sends very much, or "
            "has very many dongles: see limits.memory_bytes of the server"
        )
        _logger.warning("%s", message)
        payload = {"level": "warning", "source": "server", "message": message, "details": details}
        if kind == "agent":
            self._fleet.log(name, payload)
        else:
            now = clock.now()
            self._hub.group(name).emit("log", {"ts": format_timestamp(now.wall_us), **payload}, now)
