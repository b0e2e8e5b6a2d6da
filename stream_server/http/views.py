"""Stored rows and live presence as the bodies of the API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from can_stream.protocol.control import ServiceStatus
from can_stream.text.timestamps import format_timestamp
from stream_server.access.standing import standing_of
from stream_server.fleet.presence import Presence
from stream_server.fleet.presence_payload import presence_payload
from stream_server.http.bodies import (
    AgentView,
    AuditPage,
    AuditRecord,
    DongleView,
    EnrolmentView,
    PresenceView,
    RecordingView,
)

if TYPE_CHECKING:
    from stream_server.recording.lane_numbers import LaneNumbers


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
    seen_at_ns = max(state.seen_at_ns, row.last_seen_at_ns or 0)
    return AgentView(
        agent_id=row.agent_id,
        online=state.online,
        reason=state.reason,
        version=row.version,
        created_at=format_timestamp(row.created_at_ns // 1000),
        last_seen=_time(seen_at_ns or None),
        start_id=row.start_id,
        clock_synchronised=row.clock_synchronised,
        remote=row.remote,
        dongles=[],
        services=services,
        credential=standing_of(row),
    )


def enrolment_view(row: Any) -> EnrolmentView:
    """A stored enrolment token."""
    return EnrolmentView(
        id=row.id,
        agent_id=row.agent_id,
        uses_left=row.uses_left,
        created=format_timestamp(row.created_at_ns // 1000),
        expires=_time(row.expires_at_ns),
        revoked=_time(row.revoked_at_ns),
    )


def _time(at_ns: int | None) -> str | None:
    return None if at_ns is None else format_timestamp(at_ns // 1000)


def dongle_view(row: Any, presence: Presence, numbers: LaneNumbers) -> DongleView:
    """A dongle from a row of `registry.dongle_rows` and the numbers of its frames lane."""
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
        presence=PresenceView(
            **presence_payload(
                row.dongle_id,
                presence.of(row.agent_id),
                listed=row.listed,
                clock_synchronised=row.clock_synchronised,
            )
        ),
        recording=RecordingView(**numbers._asdict()),
    )


def audit_view(rows: Sequence[Any], *, more: bool) -> AuditPage:
    """A page of the audit trail from what `audit.page` found."""
    records = [
        AuditRecord(
            id=row.id,
            at=format_timestamp(row.at_ns // 1000),
            actor=row.actor,
            action=row.action,
            subject=row.subject,
            remote=row.remote,
            before=None if row.before is None else msgspec.json.decode(row.before),
            after=None if row.after is None else msgspec.json.decode(row.after),
            count=row.times,
            last_at=format_timestamp((row.last_at_ns or row.at_ns) // 1000),
        )
        for row in rows
    ]
    return AuditPage(records=records, next_before=records[-1].id if more else None)
