"""What this agent is called and runs as: version, random start id, hello."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from msgspec.structs import replace

from can_stream.protocol.control import AgentControlMessage, DevicesReport, DongleInfo, Hello
from can_stream.protocol.identity import START_ID_BYTES
from can_stream.version import VERSION
from edge_agent.host.clock import Clock


def new_start_id() -> str:
    """A random id for one start of the agent."""
    return secrets.token_hex(START_ID_BYTES)


def hello_of(agent_id: str, start_id: str, dongles: Sequence[DongleInfo], clock: Clock) -> Hello:
    """What the agent says first on its control connection."""
    return Hello(
        agent_id=agent_id,
        start_id=start_id,
        boot_id=clock.boot_id(),
        monotonic_ns=clock.monotonic_ns(),
        wall_ns=clock.wall_ns(),
        clock_synchronised=clock.synchronised(),
        version=VERSION,
        dongles=list(dongles),
        relay=True,
    )


def as_version_1(said: AgentControlMessage) -> AgentControlMessage:
    """Without what a server of version 1 refuses."""
    if isinstance(said, Hello):
        said = replace(said, relay=False)
    if isinstance(said, Hello | DevicesReport):
        return replace(said, dongles=[replace(dongle, relay=None) for dongle in said.dongles])
    return said
