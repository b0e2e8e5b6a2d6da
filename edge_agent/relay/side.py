"""What this gateway's configuration lets a relay do with a dongle, as its server is told."""

from __future__ import annotations

from can_stream.protocol.control import CanEmptyQueue, Confirms, RelaySide
from edge_agent.config.dongle import DongleSection
from edge_agent.config.sections import AgentConfig


def may_be_source(config: AgentConfig, dongle: DongleSection) -> bool:
    """Whether its frames may be relayed, and uploaded in full for that.

    Where `source` is not said: only where all of them are sent anyway. A log that an agent plays is another
    start each time; whether it may be relayed is for the receiving gateway to say (`from_logs`).
    """
    if config.relay.source is not None:
        return config.relay.source
    return dongle.frames == "all" and not dongle.frame_filters and not config.uplink.max_bytes_per_day


def relay_side(
    config: AgentConfig,
    dongle: DongleSection,
    *,
    transmit: bool = False,
    confirms: Confirms = "none",
    can_empty_queue: CanEmptyQueue = "probe",
    stopped: str = "",
) -> RelaySide:
    """`transmit`: whether there is a sink for it; `confirms`: what its interface tells of what was sent;
    `stopped`: why nothing is let through now."""
    relay = config.relay
    return RelaySide(
        source=may_be_source(config, dongle),
        transmit=transmit,
        confirms=confirms,
        can_empty_queue=can_empty_queue,
        max_age_seconds=relay.max_age_seconds,
        max_bus_load=relay.max_bus_load,
        max_live_bus_load=relay.max_live_bus_load,
        dry_run=relay.dry_run,
        from_logs=relay.from_logs,
        stopped=stopped,
    )
