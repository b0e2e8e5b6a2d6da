"""The books of a dongle: what became of every frame and value, hop by hop.

A frame that was read is left out by the configuration, lost, acknowledged by the server, or on its way:
nothing else can become of it. A new place where frames can be is a new `Hop` in the tables below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from msgspec import Struct

Fate = Literal["unread", "lost", "left_out", "acknowledged", "waiting", "unusable"]
_FATES_OF_TAKEN: Final = frozenset({"lost", "left_out", "acknowledged", "waiting"})


class Hop(Struct, frozen=True):
    """Where frames can end or be: `name` in metrics, their `fate` there, `place` in a sentence about losses.

    What is `unread` was lost before it could be read; what is `unusable` was no frame.
    """

    name: str
    fate: Fate
    place: str = ""


_WINDOW: Final = Hop("trimmed", "lost", "of what waited for the server, that memory or disk could not keep")
_SERVER: Final = Hop(
    "lost_server",
    "lost",
    "that the server had acknowledged and has no more: was it restored from a backup, or damaged?",
)
_BUDGET: Final = Hop("over_budget", "lost", "because the day's byte budget was spent")

# In the data's order.
FRAME_HOPS: Final = (
    Hop("lost_driver", "unread", "in the adapter or its driver"),
    Hop("lost_kernel", "unread", "in the kernel's receive buffer"),
    Hop("malformed", "unusable"),
    Hop("lost_queue", "lost", "in the agent's queue"),
    Hop("left_out", "left_out"),
    _BUDGET,
    _WINDOW,
    _SERVER,
    Hop("acknowledged", "acknowledged"),
    Hop("waiting", "waiting"),
)
VALUE_HOPS: Final = (
    _BUDGET,
    _WINDOW,
    _SERVER,
    Hop("acknowledged", "acknowledged"),
    Hop("waiting", "waiting"),
)


class Books(msgspec.Struct, frozen=True):
    """A `Ledger` in the status document; `hops` has its counts by the names of its hops."""

    taken: int
    total: int
    lost: int
    uncounted_losses: int
    hops: dict[str, int]
    sentence: str


class Ledger(Struct, frozen=True):
    """`taken` frames were read, or values decoded to be sent, and `counts` is how many are at which hop.

    `uncounted` is how often some were lost without anybody knowing how many. `in_doubt`: by how many the
    server's books differ from what was made.
    """

    unit: Literal["frames", "values"]
    hops: tuple[Hop, ...]
    taken: int
    counts: Mapping[str, int]
    uncounted: int = 0
    in_doubt: int = 0

    @property
    def lost(self) -> int:
        """How many are lost for certain."""
        return self._sum({"unread", "lost"})

    @property
    def total(self) -> int:
        """All there were, as far as that can be known."""
        return self.taken + self._sum({"unread"})

    @property
    def unexplained(self) -> int:
        """What the books cannot say: not 0 is a fault of the agent."""
        return self.taken - self._sum(_FATES_OF_TAKEN)

    def sentence(self) -> str:
        """`312 lost of 1 234 567 frames: 300 in the kernel's receive buffer, 12 in the agent's queue`."""
        places = [
            f"{grouped(count)} {hop.place}"
            for hop in self.hops
            if hop.fate in ("unread", "lost") and (count := self.counts.get(hop.name, 0))
        ]
        if self.uncounted:
            times = "once" if self.uncounted == 1 else f"{grouped(self.uncounted)} times"
            places.append(f"{times} the adapter lost some and did not say how many")
        if self.in_doubt:
            places.append(f"the server's books differ by {grouped(self.in_doubt)}: see `stream-server books`")
        lost = "lost for certain" if self.in_doubt else "lost"
        text = f"{grouped(self.lost)} {lost} of {grouped(self.total)} {self.unit}"
        text += f": {', '.join(places)}" if places else ""
        unusable = self._sum({"unusable"})
        return f"{text}; {unread(unusable)}" if unusable else text

    def books(self) -> Books:
        """For the status document."""
        hops = {hop.name: self.counts.get(hop.name, 0) for hop in self.hops}
        return Books(self.taken, self.total, self.lost, self.uncounted, hops, self.sentence())

    def metrics(self) -> dict[str, int]:
        """For a service: `frames_acknowledged`, a number for every hop, and `frames_lost`."""
        hops = {f"{self.unit}_{hop.name}": self.counts.get(hop.name, 0) for hop in self.hops}
        return {**hops, f"{self.unit}_lost": self.lost, f"{self.unit}_losses_uncounted": self.uncounted}

    def _sum(self, fates: frozenset[str] | set[str]) -> int:
        return sum(self.counts.get(hop.name, 0) for hop in self.hops if hop.fate in fates)


def unread(count: int) -> str:
    """What is said beside the losses: nobody knows whether these were frames."""
    return f"{grouped(count)} could not be read and may have been frames"


def grouped(number: int) -> str:
    """Digits in groups of three: `1 234 567`."""
    return f"{number:,}".replace(",", " ")
