"""How a group stands, from how its dongles do, its activation and what its two directions have done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from can_stream.protocol.relay_control import GroupStanding
from stream_server.groups.activation import Activation
from stream_server.groups.directions import OPEN
from stream_server.groups.memberships import Group
from stream_server.streams.subject import Summarise

Mode = Literal["inactive", "active", "degraded"]
OfflineSide = Literal["A", "B", "AB"]
WAYS: Final = ("a_to_b", "b_to_a")
_TEXT: Final = 512


class DirectionBooks(Struct, frozen=True):
    """What has become of the frames of one direction, in all activations.

    `replaying`: what is handed over waited longer than a second. `pressure`: more waited than there is room
    for. `waits_for`: why its sink sends nothing now. `latency_ms`: age at the echo, p50 and p99.
    `missing_frames`: known of and not here yet. `counted`: will not be handed, by reason; that many its sink
    has still to settle.
    """

    buffered_frames: int = 0
    sent: int = 0
    accepted: int = 0
    in_doubt: int = 0
    not_sent: Mapping[str, int] = {}
    latency_ms: tuple[float, float] | None = None
    replaying: bool = False
    pressure: bool = False
    waits_for: str = ""
    missing_frames: int = 0
    counted: Mapping[str, int] = {}

    @property
    def made_frames(self) -> int:
        """Every frame of others that the source has made behind the marker, as far as is known here."""
        settled = self.sent + self.accepted + self.in_doubt + sum(self.not_sent.values())
        return settled + sum(self.counted.values()) + self.buffered_frames + self.missing_frames


class Standing(Struct, frozen=True):
    """`directions` and `books`: from A to B, then from B to A."""

    activation: Activation | None
    directions: tuple[str, str]
    books: tuple[DirectionBooks, DirectionBooks] = (DirectionBooks(), DirectionBooks())


def summariser(group: Group, standing: Callable[[], Standing]) -> Summarise:
    """What makes the group's `group_state` of the presence of A and that of B."""

    def summarise(presences: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        now, away = standing(), offline_side(presences)
        mode, reason = mode_of(now, away)
        activation = now.activation
        on = None if activation is None or activation.is_ended else activation
        return {
            "group_id": group.group_id,
            "dongle_a_id": group.dongle_a_id,
            "dongle_b_id": group.dongle_b_id,
            "mode": mode,
            "offline_side": away,
            "reason": reason,
            "activation": None if on is None else on.name,
            "dry_run": on is not None and on.asked.dry_run,
            "directions": dict(zip(WAYS, now.directions, strict=True)),
            "buffer_pressure": any(one.pressure for one in now.books),
            "replaying": any(one.replaying for one in now.books),
            **_books("a_to_b", now.books[0]),
            **_books("b_to_a", now.books[1]),
        }

    return summarise


def standing_to(dongle_id: str, state: Mapping[str, Any]) -> GroupStanding:
    """What the gateway of `dongle_id` is told of a `group_state`: the way that leads to it."""
    way = state["directions"]["a_to_b" if dongle_id == state["dongle_b_id"] else "b_to_a"]
    reason = (state["reason"] or "")[:_TEXT]
    return GroupStanding(
        dongle_id, state["group_id"], state["mode"], reason, "" if way == OPEN else way[:_TEXT]
    )


def mode_of(standing: Standing, away: OfflineSide | None) -> tuple[Mode, str | None]:
    """The mode, and why it is not active; None where there is nothing to say."""
    activation = standing.activation
    if activation is None or activation.is_ended:
        return "inactive", None
    if activation.stopped:
        return "degraded", activation.stopped
    if away is not None:
        return "degraded", "offline_side"
    opened = [one for one, way in zip(standing.books, standing.directions, strict=True) if way == OPEN]
    if any(one.waits_for == "bus_load" for one in opened):
        return "degraded", "bus_load"
    if any(one.replaying for one in opened):
        return "degraded", "replaying"
    return "active", None


def offline_side(presences: Sequence[Mapping[str, Any]]) -> OfflineSide | None:
    """Which side cannot be reached now, None where both can."""
    a_online, b_online = (bool(one["online"]) for one in presences)
    if a_online and b_online:
        return None
    if a_online or b_online:
        return "B" if a_online else "A"
    return "AB"


def _books(way: str, books: DirectionBooks) -> dict[str, Any]:
    latency = None if books.latency_ms is None else dict(zip(("p50", "p99"), books.latency_ms, strict=True))
    return {
        f"made_frames_{way}": books.made_frames,
        f"missing_frames_{way}": books.missing_frames,
        f"buffered_frames_{way}": books.buffered_frames,
        f"counted_{way}": dict(books.counted),
        f"sent_{way}": books.sent,
        f"accepted_{way}": books.accepted,
        f"not_sent_{way}": dict(books.not_sent),
        f"in_doubt_{way}": books.in_doubt,
        f"latency_ms_{way}": latency,
    }
