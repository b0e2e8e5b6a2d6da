"""How the relay to one dongle stands, for whoever asks."""

from __future__ import annotations

import msgspec

from can_stream.protocol.control import Confirms
from can_stream.protocol.relay_control import Totals
from edge_agent.relay.hop_ages import Histogram


class RelayFigures(msgspec.Struct, frozen=True):
    """`dongle_id` is whose bus it is; `source_dongle_id` what is relayed there, None where nothing is.

    `connected`: whether a server can hand frames, else `message` says why not. `waits_for`: why frames that
    are here are not sent now, "" where they are. `stopped`: why this gateway lets none through. The
    relay is stopped while `stop_file` exists. `totals` are those of the record, of all starts that it knows.
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
    confirms: Confirms = "none"
    totals: Totals = Totals()
    latency_ms: tuple[float, float] | None = None
    malformed: int = 0
    hops: dict[str, Histogram] = {}
