"""One activation of a group: what it was asked with, what it pins, and whether it is on."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from can_stream.protocol.marker import ActivationName
from stream_server.fleet.side import Facts, Side
from stream_server.groups.directions import difference

SERVER_RESTORED: Final = (
    "server_restored: this server went back to an older state, or its files are a copy; see that no other "
    "server has these groups, then activate again"
)
_MOST_SEEN: Final = 200
MAX_ACTIVE_SECONDS: Final = 31_536_000


class Asked(Struct, frozen=True):
    """How a group is to be activated. `active_seconds`: when it ends by itself; None: never."""

    dry_run: bool = False
    active_seconds: int | None = None


class Activation(Struct, frozen=True):
    """`stopped`: a word and why nothing is relayed until an operator activates again, or ""."""

    name: ActivationName
    asked: Asked
    since_ns: int
    pins: tuple[Facts, Facts]
    stopped: str = ""
    is_ended: bool = False

    @property
    def is_on(self) -> bool:
        """Whether anything may be relayed for it."""
        return not self.stopped and not self.is_ended

    def is_over(self, now_ns: int) -> bool:
        """Whether its time is up."""
        seconds = self.asked.active_seconds
        return seconds is not None and now_ns >= self.since_ns + seconds * 1_000_000_000


def why_stopped(pins: tuple[Facts, Facts], sides: tuple[Side, Side]) -> str:
    """What of the two sides is not what was pinned, as a reason to stop; "" for nothing."""
    for name, pinned, side in zip("AB", pins, sides, strict=True):
        found = difference(f"side {name} ({side.dongle_id})", pinned, side.facts)
        if found:
            return f"side_changed: {found}; look at that bus, then activate again"
    return ""


def loop(dongle_id: str, seen: str) -> str:
    """Why a group stops when what it puts on this dongle's bus comes back. `seen`: what its agent says."""
    readable = "".join(one if one.isprintable() else " " for one in seen.removeprefix("loop").lstrip(": "))
    return (
        f"loop: a loop, or both buses have nodes with the same ids (on the bus of {dongle_id}: "
        f"{readable[:_MOST_SEEN]}); take one group out of the circle, then activate again"
    )


def duplicate(agent_id: str) -> str:
    """Why a group stops when two machines say that they are one agent."""
    return (
        f"duplicate_identity: two machines use the identity of agent {agent_id}; enrol one of them under "
        "another id, then activate again"
    )
