"""The fleet in storage: agents, their dongles and services. SQL on one connection; presence is not here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from can_stream.protocol.control import (
    DongleInfo,
    Hello,
    RelaySide,
    ServiceStatus,
)
from can_stream.protocol.registration import RegisterRequest
from stream_server.access import audit
from stream_server.access.machines import usable_enrolment
from stream_server.access.secrets import hash_secret, new_secret
from stream_server.errors import ApiError, not_found
from stream_server.storage import server_schema as schema

MAXIMUM_SERVICES: Final = 512
MAXIMUM_DONGLES: Final = 512

_DONGLE_FIELDS: Final = ("interface", "channel", "device_id", "mode", "bitrate", "fd", "data_bitrate")
_DONGLE_ROWS: Final = (
    select(
        schema.dongles,
        schema.agents.c.clock_synchronised,
        schema.relay_sides.c.knows_relay,
        schema.relay_sides.c.allows,
    )
    .join(schema.agents, schema.agents.c.agent_id == schema.dongles.c.agent_id)
    .outerjoin(schema.relay_sides, schema.relay_sides.c.dongle_id == schema.dongles.c.dongle_id)
    .order_by(schema.dongles.c.dongle_id)
)


def register(connection: Connection, request: RegisterRequest, now_ns: int, remote: str | None) -> str:
    """The token of a new agent, or a new token of the agent that the enrolment names.

    ApiError as `usable_enrolment`, 403 AGENT_DISABLED, 409 AGENT_EXISTS.
    """
    enrolment = usable_enrolment(connection, request.enrolment_token, request.agent_id, now_ns)
    agents = schema.agents
    secret = new_secret("agent")
    row = {"token_hash": hash_secret(secret), "version": request.version, "remote": remote}
    known = connection.execute(select(agents).where(agents.c.agent_id == request.agent_id)).one_or_none()
    if known is None:
        connection.execute(insert(agents).values(agent_id=request.agent_id, created_at_ns=now_ns, **row))
    else:
        _check_again(known, enrolment)
        again = update(agents).where(agents.c.agent_id == request.agent_id)
        connection.execute(again.values(revoked_at_ns=None, **row))
    connection.execute(
        update(schema.enrolments)
        .where(schema.enrolments.c.id == enrolment.id)
        .values(uses_left=schema.enrolments.c.uses_left - 1)
    )
    audit.record(
        connection,
        now_ns,
        actor=f"enrolment:{enrolment.id}",
        action="agent.register" if known is None else "agent.reenrol",
        subject=f"agent:{request.agent_id}",
        remote=remote,
        after={"version": request.version},
    )
    return secret


def _check_again(known: Row[Any], enrolment: Row[Any]) -> None:
    agent_id, details = known.agent_id, {"agent_id": known.agent_id}
    if enrolment.agent_id != agent_id:
        raise ApiError(
            409,
            "AGENT_EXISTS",
            f"agent {agent_id!r} is registered; choose another id, or make an enrolment token for it "
            f"with `stream-server enroll create --agent-id {agent_id}`",
            details,
        )
    if known.disabled_at_ns is not None:
        remedy = f"`stream-server agents enable {agent_id}` lets it in again"
        raise ApiError(403, "AGENT_DISABLED", f"agent {agent_id!r} is disabled; {remedy}", details)


def started(connection: Connection, hello: Hello, now_ns: int, remote: str | None) -> None:
    """Store what hello says of the agent itself."""
    agents = schema.agents
    connection.execute(
        update(agents)
        .where(agents.c.agent_id == hello.agent_id)
        .values(
            version=hello.version,
            start_id=hello.start_id,
            boot_id=hello.boot_id,
            clock_synchronised=hello.clock_synchronised,
            last_seen_at_ns=now_ns,
            remote=remote,
        )
    )


def heartbeat(connection: Connection, agent_id: str, clock_synchronised: bool, now_ns: int) -> None:
    """Store that the agent is alive and whether its clock can be believed."""
    agents = schema.agents
    values = {"clock_synchronised": clock_synchronised, "last_seen_at_ns": now_ns}
    connection.execute(update(agents).where(agents.c.agent_id == agent_id).values(values))


def store_last_seen(connection: Connection, seen_at_ns: dict[str, int]) -> None:
    """Store when agents were last seen: {agent_id: nanoseconds}."""
    agents = schema.agents
    for agent_id, at_ns in seen_at_ns.items():
        connection.execute(update(agents).where(agents.c.agent_id == agent_id).values(last_seen_at_ns=at_ns))


def list_dongles(
    connection: Connection, agent_id: str, dongles: Sequence[DongleInfo], now_ns: int, remote: str | None
) -> list[str]:
    """Store the agent's whole list; its other dongles are no longer listed. Returns the ids refused.

    A dongle belongs to the agent that listed it first, so that nobody takes over another's stream.
    """
    table = schema.dongles
    wanted = {dongle.dongle_id: dongle for dongle in dongles}
    query = select(table.c.dongle_id, table.c.agent_id).where(
        table.c.dongle_id.in_(wanted) | (table.c.agent_id == agent_id)
    )
    owners = {row.dongle_id: row.agent_id for row in connection.execute(query)}
    connection.execute(update(table).where(table.c.agent_id == agent_id).values(listed=False))
    refused = [dongle_id for dongle_id in wanted if owners.get(dongle_id, agent_id) != agent_id]
    fresh = [dongle_id for dongle_id in wanted if dongle_id not in owners]
    if len(owners) - len(refused) + len(fresh) > MAXIMUM_DONGLES:
        raise ApiError(409, "TOO_MANY_DONGLES", f"an agent may have listed {MAXIMUM_DONGLES} dongles in all")
    for dongle_id, dongle in wanted.items():
        values = _dongle_values(dongle)
        if dongle_id in fresh:
            connection.execute(
                insert(table).values(dongle_id=dongle_id, agent_id=agent_id, created_at_ns=now_ns, **values)
            )
        elif dongle_id not in refused:
            connection.execute(update(table).where(table.c.dongle_id == dongle_id).values(values))
    for dongle_id in refused:
        audit.record(
            connection,
            now_ns,
            actor=f"agent:{agent_id}",
            action="dongle.conflict",
            subject=f"dongle:{dongle_id}",
            remote=remote,
            before={"agent_id": owners[dongle_id]},
        )
    return refused


def store_relay_sides(
    connection: Connection, agent_id: str, dongles: Sequence[DongleInfo], knows_relay: bool | None
) -> None:
    """What the agent's gateway lets a relay do with its dongles; `knows_relay` None: as it was."""
    table, own = schema.relay_sides, schema.dongles
    query = select(own.c.dongle_id, table.c.knows_relay).where(own.c.agent_id == agent_id)
    known = {row.dongle_id: row for row in connection.execute(query.outerjoin(table))}
    connection.execute(delete(table).where(table.c.dongle_id.in_(known)))
    for dongle in {one.dongle_id: one for one in dongles}.values():
        if dongle.dongle_id in known:
            knows = bool(known[dongle.dongle_id].knows_relay) if knows_relay is None else knows_relay
            allows = msgspec.json.encode(dongle.relay or RelaySide()).decode()
            row = {"dongle_id": dongle.dongle_id, "knows_relay": knows, "allows": allows}
            connection.execute(insert(table).values(**row))


def dongle_conflict(refused: list[str]) -> ApiError:
    """409 DONGLE_CONFLICT: another agent listed these first."""
    named = ", ".join(refused[:10])
    message = f"{named}: listed by another agent already; give the dongle another id in this agent's config"
    return ApiError(409, "DONGLE_CONFLICT", message, {"dongle_ids": refused})


def _dongle_values(dongle: DongleInfo) -> dict[str, Any]:
    return {
        "listed": True,
        "frames_mode": dongle.frames,
        "signal_table": next(iter(dongle.signal_tables), None),
        **{name: getattr(dongle, name) for name in _DONGLE_FIELDS},
    }


def store_services(connection: Connection, agent_id: str, services: Sequence[ServiceStatus]) -> None:
    """Each replaces what was known of its `agent_service_id`; at most 512 are kept per agent."""
    table = schema.services
    ids = [service.agent_service_id for service in services]
    connection.execute(delete(table).where(table.c.agent_id == agent_id, table.c.agent_service_id.in_(ids)))
    known = connection.execute(
        select(func.count()).select_from(table).where(table.c.agent_id == agent_id)
    ).scalar_one()
    if known + len(set(ids)) > MAXIMUM_SERVICES:
        raise ApiError(409, "TOO_MANY_SERVICES", f"an agent may report {MAXIMUM_SERVICES} services in all")
    for service in {service.agent_service_id: service for service in services}.values():
        values = msgspec.structs.asdict(service) | {"metrics": msgspec.json.encode(service.metrics).decode()}
        connection.execute(insert(table).values(agent_id=agent_id, **values))


def agent_rows(connection: Connection, agent_id: str | None = None) -> tuple[list[Row[Any]], list[Row[Any]]]:
    """Agents with their dongles' ids (one row per dongle, or one with None), and all their services."""
    agents, dongles, services = schema.agents, schema.dongles, schema.services
    query = select(agents, dongles.c.dongle_id, dongles.c.listed).outerjoin(
        dongles, dongles.c.agent_id == agents.c.agent_id
    )
    service_query = select(services).order_by(services.c.agent_id, services.c.agent_service_id)
    if agent_id is not None:
        query = query.where(agents.c.agent_id == agent_id)
        service_query = service_query.where(services.c.agent_id == agent_id)
    rows = connection.execute(query.order_by(agents.c.agent_id, dongles.c.dongle_id)).all()
    return list(rows), list(connection.execute(service_query).all())


def service_rows(connection: Connection, agent_id: str) -> list[Row[Any]]:
    """The services of an agent. ApiError AGENT_NOT_FOUND."""
    agents, services = schema.agents, schema.services
    query = (
        select(agents.c.agent_id.label("owner"), services)
        .outerjoin(services, services.c.agent_id == agents.c.agent_id)
        .where(agents.c.agent_id == agent_id)
        .order_by(services.c.agent_service_id)
    )
    rows = connection.execute(query).all()
    if not rows:
        raise not_found("agent", agent_id)
    return [row for row in rows if row.agent_service_id is not None]


def dongle_rows(connection: Connection, dongle_id: str | None = None) -> list[Row[Any]]:
    """Dongles with their agents' clock state and whether they know of a relay; one query."""
    query = _DONGLE_ROWS
    if dongle_id is not None:
        query = query.where(schema.dongles.c.dongle_id == dongle_id)
    return list(connection.execute(query).all())


def one_dongle(connection: Connection, dongle_id: str) -> Row[Any]:
    """The dongle's stored row. ApiError DONGLE_NOT_FOUND."""
    table = schema.dongles
    row = connection.execute(select(table).where(table.c.dongle_id == dongle_id)).one_or_none()
    if row is None:
        raise not_found("dongle", dongle_id)
    return row


def dongles_of(connection: Connection, agent_id: str) -> list[Row[Any]]:
    """The rows of an agent's dongles, as `dongle_rows` has them."""
    return list(connection.execute(_DONGLE_ROWS.where(schema.dongles.c.agent_id == agent_id)).all())


def set_sampling(
    connection: Connection, dongle_id: str, limit: int | None, now_ns: int, actor: str, remote: str | None
) -> None:
    """Store a dongle's sampling limit, None for none. ApiError DONGLE_NOT_FOUND."""
    table = schema.dongles
    row = one_dongle(connection, dongle_id)
    connection.execute(
        update(table)
        .where(table.c.dongle_id == dongle_id)
        .values(max_frames_per_second=limit, sampling_set=True)
    )
    audit.record(
        connection,
        now_ns,
        actor=actor,
        action="sampling.set",
        subject=f"dongle:{dongle_id}",
        remote=remote,
        before={"max_frames_per_second": row.max_frames_per_second} if row.sampling_set else None,
        after={"max_frames_per_second": limit},
    )
