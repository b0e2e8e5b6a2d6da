"""How the relay to one dongle stands, for whoever asks."""

from __future__ import annotations

from typing import Final

import msgspec

from can_stream.protocol.control import Confirms
from can_stream.protocol.relay_control import GroupStanding, Totals
from edge_agent.relay.account.counted import IdCounts
from edge_agent.relay.account.hop_ages import Histogram

BROKEN: Final = "a fault of the agent, see its log: restart it, and report it"
"""Why a gateway lets nothing through after a fault of its own."""


class RelayFigures(msgspec.Struct, frozen=True):
    """`dongle_id` is whose bus it is; `source_dongle_id` what is relayed there, None where nothing is.

    `connected`: whether a server can hand frames, else `message` says why not. `waits_for`: why frames that
    are here are not sent now, "" where they are. `stopped`: why this gateway lets none through; `gate`: which
    of its gates does not hold, and why. The relay is stopped while `stop_file` exists. `totals` are those of
    the record, of all starts that it knows, `by_id` those of this process. `asleep`: nobody else speaks
    there, and it may not be woken. `bit_rate`: in bit/s, 0 where not known. `group`: as the server says.
    `latency_ms`: age at the echo, p50 and p99 of the last second. `hops`: since the agent's start, by hop.
    """

    dongle_id: str
    connected: bool
    message: str
    stop_file: str
    source_dongle_id: str | None = None
    dry_run: bool = False
    waits_for: str = ""
    stopped: str = ""
    gate: str = ""
    confirms: Confirms = "none"
    totals: Totals = Totals()
    latency_ms: tuple[float, float] | None = None
    malformed: int = 0
    by_id: list[IdCounts] = []
    asleep: bool = False
    bit_rate: int | None = None
    group: GroupStanding | None = None
    hops: dict[str, Histogram] = {}
