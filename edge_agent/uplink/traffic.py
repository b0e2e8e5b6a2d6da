"""What there is to send, and who waits for what: it outlives every connection."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from can_stream.lanes.sender import LaneSender
from can_stream.protocol.control import AgentControlMessage, DevicesReport, Heartbeat, Status
from edge_agent.uplink.counts import UplinkCounts

MAX_WAITING_CONTROL_MESSAGES: Final = 1000
# What is said whatever a byte budget has left.
PRESENCE: Final = (Heartbeat, DevicesReport, Status)


class Traffic:
    """Lanes and control messages of one agent.

    `has_unsent`: a lane may have something to send. `greet_again`: there is more to say in hello than was
    said. `network_changed`: the connection may be dead. `progress`: an ack has come, or the uplink stands
    otherwise. `server_offset_ns`: how far the server's wall clock was from our monotonic one, at the last
    welcome.
    """

    def __init__(self, lanes: Sequence[LaneSender]) -> None:
        self.lanes = lanes
        self.counts = UplinkCounts()
        self.server_offset_ns: int | None = None
        self.has_unsent = asyncio.Event()
        self.greet_again = asyncio.Event()
        self.network_changed = asyncio.Event()
        self.progress = asyncio.Event()
        self._spent_at: int | None = None
        self._welcomed_at_seconds = 0.0
        self._acknowledged_at_seconds: dict[int, float] = {}
        self._control_messages: asyncio.Queue[AgentControlMessage] = asyncio.Queue(
            MAX_WAITING_CONTROL_MESSAGES
        )

    def allow_bytes(self, count: int) -> None:
        """So much may still be sent from now on, but for presence, until this is called again."""
        self._spent_at = self.counts.spent_bytes + count
        if count > 0:
            self.has_unsent.set()

    @property
    def is_spent(self) -> bool:
        """Whether nothing but presence may be sent now."""
        return self._spent_at is not None and self.counts.spent_bytes >= self._spent_at

    def say(self, control_message: AgentControlMessage) -> bool:
        """Queue it; False when it had to be dropped: 1,000 are waiting, or only presence may be said."""
        if self.is_spent and not isinstance(control_message, PRESENCE):
            self.counts.messages_dropped += 1
            return False
        try:
            self._control_messages.put_nowait(control_message)
        except asyncio.QueueFull:
            self.counts.messages_dropped += 1
            return False
        return True

    def welcomed(self, now_seconds: float) -> None:
        """A connection is open: acks may come from now on."""
        self._welcomed_at_seconds = now_seconds
        self._acknowledged_at_seconds.clear()

    def acknowledged(self, lane_index: int, now_seconds: float) -> None:
        """An ack has come for this lane."""
        self._acknowledged_at_seconds[lane_index] = now_seconds

    def stalled_seconds(self, now_seconds: float) -> float:
        """For how long no ack has come for a lane that waits for one; 0 where none waits."""
        waits = [0.0]
        for index, lane in enumerate(self.lanes):
            if not lane.is_empty and not lane.paused:
                made_at_seconds = lane.window.oldest_made_at_seconds or 0.0  # what is on disk alone is older
                acknowledged = self._acknowledged_at_seconds.get(index, self._welcomed_at_seconds)
                waits.append(now_seconds - max(made_at_seconds, acknowledged))
        return max(waits)

    async def next_control_message(self) -> AgentControlMessage:
        """The one that has waited longest, once there is one."""
        return await self._control_messages.get()
