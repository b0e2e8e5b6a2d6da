"""Who takes more of the server's memory than its share.

While the whole is not used up an agent may have a quarter of it; beyond that all agents that hold anything
may have equal parts. Who is over its share is slowed down and told; who is at twice that all the same is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

_AGENTS_QUARTER: Final = 4
_CUT_AT: Final = 2


class Look(NamedTuple):
    """What is to be done now: agents to be told, agents to be cut."""

    told: list[str]
    cut: list[str]


class Shares:
    """The shares of `whole_bytes`. `over` has the share of each agent that was above it at the last look."""

    def __init__(self, whole_bytes: int) -> None:
        self.whole_bytes: Final = whole_bytes
        self.over: dict[str, int] = {}

    def look(self, used: Mapping[str, int], others_bytes: int = 0) -> Look:
        """What each agent uses now, and what is used beside them."""
        share = self.whole_bytes // _AGENTS_QUARTER
        holders = sum(size > 0 for size in used.values())
        if holders and sum(used.values()) + others_bytes > self.whole_bytes:
            share = min(share, max(self.whole_bytes - others_bytes, 0) // holders)
        over = {agent: share for agent, size in used.items() if size > share}
        told = [agent for agent in over if agent not in self.over]
        self.over = over
        return Look(told, [agent for agent in over if used[agent] > _CUT_AT * share])
