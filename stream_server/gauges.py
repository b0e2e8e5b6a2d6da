"""What `/metrics` says of how things stand, beside the counters of what has happened."""

from __future__ import annotations

from stream_server.http.services import Services
from stream_server.storage.setting_aside import damaged_recordings


def add_gauges(services: Services) -> None:
    """Each is read when somebody asks."""
    _of_clients(services)
    _of_storage(services)


def _of_clients(services: Services) -> None:
    fleet, fanout, metrics = services.fleet, services.fanout, services.metrics
    metrics.gauge("agent_connections", "Open agent WebSockets", lambda: len(fleet.connections))
    places = services.front.connections
    metrics.gauge("connections", "Open connections of every kind", lambda: len(places))
    metrics.gauge(
        "connections_unknown", "Of them, those that have shown no credential", lambda: places.strangers
    )
    metrics.gauge("agents_online", "Agents that are online", fleet.presence.online_count)
    metrics.gauge("groups", "Groups of two dongles", lambda: len(services.groups))
    links = services.relay.unfinished
    metrics.gauge("relay_directions", "Directions that are active, or left to settle", lambda: len(links()))
    metrics.gauge(
        "relay_waiting_frames",
        "Frames that wait for gateways",
        lambda: sum(one.direction.held.frames for one in links()),
    )
    metrics.gauge("sse_subscribers", "Open console streams", lambda: fanout.subscribers)
    metrics.gauge(
        "sse_send_timeouts", "Console clients cut off for reading nothing", lambda: fanout.send_timeouts
    )
    metrics.gauges(
        "memory_bytes",
        "About what is held for clients and agents, by kind",
        "kind",
        services.memory.kinds,
    )
    metrics.gauge("downloads", "Open downloads", lambda: services.access.open_slots("downloads"))
    metrics.gauge(
        "download_send_timeouts",
        "Downloads cut off for reading nothing",
        lambda: services.long_answers.send_timeouts,
    )


def _of_storage(services: Services) -> None:
    metrics = services.metrics
    metrics.gauge(
        "clock_jump_seconds",
        "How far the wall clock has jumped; nothing is deleted by age until it is 0",
        lambda: services.retention.jump_seconds,
    )
    metrics.gauge(
        "damaged_recordings",
        "Recordings that were set aside since they are damaged, and are kept",
        lambda: len(damaged_recordings(services.recording.path.parent)),
    )
    metrics.gauge(
        "storage_fault",
        "1 while storage does not take writes",
        lambda: any(one.fault is not None for one in (services.database, services.recording)),
    )
