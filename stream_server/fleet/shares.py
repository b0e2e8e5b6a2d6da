"""Who takes more of the server's memory than its share.

While the whole is not used up an agent, or the console of a group, may have a quarter of it; beyond that all
that hold anything may have equal parts. Who is over its share is slowed down and told; who is at twice that
all the same is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

Holder: TypeAlias = tuple[Literal["agent", "group"], str]
"""Who has a share, by kind and id."""
_QUARTER: Final = 4
_CUT_AT: Final = 2


class Look(NamedTuple):
    """What is to be done now: who is to be told, who to be cut."""

    told: list[Holder]
    cut: list[Holder]


class Shares:
    """The shares of `whole_bytes`. `over` has the share of each holder that was above it at the last look."""

    def __init__(self, whole_bytes: int) -> None:
        self.whole_bytes: Final = whole_bytes
        self.over: dict[Holder, int] = {}

    def look(self, used: Mapping[Holder, int], others_bytes: int = 0) -> Look:
        """What each holder uses now, and what is used beside them."""
        share = self.whole_bytes // _QUARTER
        holders = sum(size > 0 for size in used.values())
        if holders and sum(used.values()) + others_bytes > self.whole_bytes:
            share = min(share, max(self.whole_bytes - others_bytes, 0) // holders)
        over = {holder: share for holder, size in used.items() if size > share}
        told = [holder for holder in over if holder not in self.over]
        self.over = over
        return Look(told, [holder for holder in over if used[holder] > _CUT_AT * share])
