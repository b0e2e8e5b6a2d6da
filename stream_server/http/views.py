"""Stored rows and live presence as the bodies of the API (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from can_stream.protocol.control import ServiceStatus
from can_stream.text.timestamps import format_timestamp
from stream_server.fleet.presence import Presence, Transition
from stream_server.http.bodies import AgentView, DongleView, PresenceView, RecordingView


def timestamp(wall_ns: int | None) -> str | None:
    """`2025-12-22T15:31:02.000123Z`, None for never."""
    return format_timestamp(wall_ns // 1000) if wall_ns else None


def presence_view(
    dongle_id: str, agent: Transition, *, listed: bool, clock_synchronised: bool | None
) -> PresenceView:
    """A dongle is online when its agent is and lists it."""
    return PresenceView(
        dongle_id=dongle_id,
        online=agent.online and listed,
        agent_id=agent.agent_id,
        seen_at=timestamp(agent.seen_at_ns),
        reason="unlisted" if agent.online and not listed else agent.reason,
        clock_synchronised=clock_synchronised,
    )


def service_view(row: Any) -> ServiceStatus:
    """One stored service."""
    return ServiceStatus(
        service_id=row.service_id,
        agent_service_id=row.agent_service_id,
        label=row.label,
        service_type=row.service_type,
        status_code=row.status_code,
        status=row.status,
        message=row.message,
        last_seen=row.last_seen,
        metrics=msgspec.json.decode(row.metrics),
    )


def agent_views(rows: Iterable[Any], service_rows: Iterable[Any], presence: Presence) -> list[AgentView]:
    """Agents from what `registry.agent_rows` found, in its order."""
    services: dict[str, list[ServiceStatus]] = {}
    for row in service_rows:
        services.setdefault(row.agent_id, []).append(service_view(row))
    views: dict[str, AgentView] = {}
    for row in rows:
        view = views.get(row.agent_id)
        if view is None:
            view = views[row.agent_id] = _agent_view(row, services.get(row.agent_id, []), presence)
        if row.dongle_id is not None:
            view.dongles.append(row.dongle_id)
    return list(views.values())


def _agent_view(row: Any, services: list[ServiceStatus], presence: Presence) -> AgentView:
    state = presence.of(row.agent_id)
    return AgentView(
        agent_id=row.agent_id,
        online=state.online,
        reason=state.reason,
        version=row.version,
        created_at=format_timestamp(row.created_at_ns // 1000),
        last_seen=timestamp(max(state.seen_at_ns, row.last_seen_at_ns or 0)),
        start_id=row.start_id,
        clock_synchronised=row.clock_synchronised,
        remote=row.remote,
        dongles=[],
        services=services,
    )


def dongle_view(row: Any, presence: Presence) -> DongleView:
    """A dongle from a row of `registry.dongle_rows`."""
    return DongleView(
        dongle_id=row.dongle_id,
        agent_id=row.agent_id,
        interface=row.interface,
        channel=row.channel,
        device_id=row.device_id,
        mode=row.mode,
        bitrate=row.bitrate,
        fd=row.fd,
        data_bitrate=row.data_bitrate,
        frames=row.frames_mode,
        signal_table=row.signal_table,
        listed=row.listed,
        presence=presence_view(
            row.dongle_id,
            presence.of(row.agent_id),
            listed=row.listed,
            clock_synchronised=row.clock_synchronised,
        ),
        recording=RecordingView(
            packets=row.packets,
            frames=row.frames,
            deleted_packets=row.deleted_packets,
            deleted_frames=row.deleted_frames,
        ),
    )
