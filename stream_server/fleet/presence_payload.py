"""What consoles and the API are told of a dongle's presence."""

from __future__ import annotations

from typing import Any

from can_stream.text.timestamps import format_timestamp
from stream_server.fleet.presence import Transition


def presence_payload(
    dongle_id: str, agent: Transition, *, listed: bool, clock_synchronised: bool | None
) -> dict[str, Any]:
    """A dongle is online when its agent is and lists it."""
    return {
        "dongle_id": dongle_id,
        "online": agent.online and listed,
        "agent_id": agent.agent_id,
        "seen_at": format_timestamp(agent.seen_at_ns // 1000) if agent.seen_at_ns else None,
        "reason": "unlisted" if agent.online and not listed else agent.reason,
        "clock_synchronised": clock_synchronised,
    }
