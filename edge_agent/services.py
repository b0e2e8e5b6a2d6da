"""What the agent says of its services : itself, each dongle's bus and its decoder."""

from __future__ import annotations

from dataclasses import asdict

from edge_agent.dongle import Dongle
from edge_agent.identity import VERSION
from edge_agent.sources.base import SourceCode
from edge_agent.sources.reader import SourceReader
from wire_protocol.messages import ServiceStatus
from wire_protocol.timestamps import format_timestamp


def agent_service(agent_id: str, uptime_seconds: float, now_ns: int) -> ServiceStatus:
    """The agent itself: it can say so, so it runs."""
    return ServiceStatus(
        service_id=f"{agent_id}/agent",
        agent_service_id="agent",
        label="Edge agent",
        service_type="agent",
        status_code=SourceCode.OK,
        status=SourceCode.OK.name,
        message=f"version {VERSION}",
        last_seen=format_timestamp(now_ns // 1000),
        metrics={"uptime_seconds": round(uptime_seconds, 1)},
    )


def bus_service(agent_id: str, dongle: Dongle, reader: SourceReader, now_ns: int) -> ServiceStatus:
    """One dongle's bus: how it stands, and what was read, lost and acknowledged."""
    state, lane = dongle.bus.state, dongle.frames
    return ServiceStatus(
        service_id=f"{agent_id}/bus.{dongle.dongle_id}",
        agent_service_id=f"bus.{dongle.dongle_id}",
        label=f"Bus {dongle.info.channel}",
        service_type="bus",
        status_code=state.code,
        status=state.code.name,
        message=state.message,
        last_seen=format_timestamp(now_ns // 1000),
        metrics={
            **dongle.bus.metrics,
            "frames_read": reader.frames_read,
            "frames_malformed": reader.malformed,
            "frames_dropped": reader.frames_dropped,
            "kernel_drops": reader.kernel_drops,
            "adapter_overruns": reader.unknown_losses,
            "frames_trimmed": lane.trimmed_frames,
            "frames_acknowledged": lane.acknowledged_frames,
        },
    )


def decoder_service(agent_id: str, dongle: Dongle, now_ns: int) -> ServiceStatus:
    """What one dongle's databases are, and what was made of its frames; of a dongle with a decoder."""
    assert dongle.decoder is not None
    databases, lane = dongle.databases, dongle.decoder.lane
    code = SourceCode.STARTING
    if databases is not None:
        code = SourceCode.FAILED if databases.table is None else SourceCode.OK
        code = SourceCode.DEGRADED if databases.table and databases.problems else code
    return ServiceStatus(
        service_id=f"{agent_id}/decoder.{dongle.dongle_id}",
        agent_service_id=f"decoder.{dongle.dongle_id}",
        label=f"Decoder {dongle.info.channel}",
        service_type="decoder",
        status_code=code,
        status=code.name,
        message="loading databases" if databases is None else databases.message,
        last_seen=format_timestamp(now_ns // 1000),
        metrics={
            **asdict(dongle.decoder.counts),
            "values_trimmed": lane.trimmed_frames,
            "values_acknowledged": lane.acknowledged_frames,
        },
    )
