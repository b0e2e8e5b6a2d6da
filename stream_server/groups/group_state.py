"""How a group stands, from how its dongles do.

Nothing of a relay is here: no group can be activated yet, so that its mode is always the one without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from stream_server.groups.memberships import Group
from stream_server.streams.subject import Summarise

Mode = Literal["inactive"]
OfflineSide = Literal["A", "B", "AB"]


def summariser(group: Group) -> Summarise:
    """What makes the group's `group_state` of the presence of A and that of B."""

    def summarise(presences: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        mode: Mode = "inactive"
        return {
            "group_id": group.group_id,
            "dongle_a_id": group.dongle_a_id,
            "dongle_b_id": group.dongle_b_id,
            "mode": mode,
            "offline_side": offline_side(presences),
        }

    return summarise


def offline_side(presences: Sequence[Mapping[str, Any]]) -> OfflineSide | None:
    """Which side cannot be reached now, None where both can."""
    a_online, b_online = (bool(one["online"]) for one in presences)
    if a_online and b_online:
        return None
    if a_online or b_online:
        return "B" if a_online else "A"
    return "AB"
