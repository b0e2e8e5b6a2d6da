"""Credentials of machines: enrolment tokens, and those of agents. SQL on one connection, all audited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select, update

from stream_server.access import audit
from stream_server.access.secrets import hash_secret, new_secret
from stream_server.access.standing import Deed
from stream_server.errors import ApiError, not_found
from stream_server.storage import server_schema as schema

VALID_DAYS: Final = 1
_DAY_NS: Final = 86_400 * 1_000_000_000


def create_enrolment(
    connection: Connection,
    agent_id: str | None,
    uses: int,
    now_ns: int,
    actor: str,
    valid_days: int = VALID_DAYS,
) -> str:
    """A new enrolment token's secret: for any new agent, or for `agent_id`, whose old token it replaces."""
    secret = new_secret("enroll")
    row = {
        "token_hash": hash_secret(secret),
        "agent_id": agent_id,
        "uses_left": uses,
        "created_at_ns": now_ns,
        "expires_at_ns": now_ns + valid_days * _DAY_NS,
    }
    key = connection.execute(insert(schema.enrolments).values(row)).inserted_primary_key
    assert key is not None
    audit.record(
        connection,
        now_ns,
        actor=actor,
        action="enrolment.create",
        subject=f"enrolment:{key[0]}",
        after={"agent_id": agent_id, "uses": uses, "valid_days": valid_days},
    )
    return secret


def enrolment_rows(connection: Connection) -> Sequence[Row[Any]]:
    """All enrolment tokens, oldest first."""
    return connection.execute(select(schema.enrolments).order_by(schema.enrolments.c.id)).all()


def revoke_enrolment(
    connection: Connection, enrolment_id: int, now_ns: int, actor: str, remote: str | None = None
) -> None:
    """Nobody registers with it from now on. ApiError ENROLMENT_NOT_FOUND for none, or a revoked one."""
    table = schema.enrolments
    wanted = (table.c.id == enrolment_id, table.c.revoked_at_ns.is_(None))
    if not connection.execute(update(table).where(*wanted).values(revoked_at_ns=now_ns)).rowcount:
        raise not_found("enrolment", str(enrolment_id))
    subject = f"enrolment:{enrolment_id}"
    audit.record(connection, now_ns, actor=actor, action="enrolment.revoke", subject=subject, remote=remote)


def usable_enrolment(connection: Connection, secret: str, agent_id: str, now_ns: int) -> Row[Any]:
    """The enrolment with which `agent_id` may register.

    ApiError 401 ENROLMENT_UNKNOWN, 403 ENROLMENT_REVOKED, ENROLMENT_USED, ENROLMENT_EXPIRED or
    ENROLMENT_FOR_OTHER_AGENT.
    """
    table = schema.enrolments
    row = connection.execute(select(table).where(table.c.token_hash == hash_secret(secret))).one_or_none()
    if row is None:
        raise ApiError(401, "ENROLMENT_UNKNOWN", "this enrolment token is not known here")
    if row.revoked_at_ns is not None:
        raise ApiError(403, "ENROLMENT_REVOKED", "this enrolment token is revoked; make a new one")
    if row.uses_left <= 0:
        raise ApiError(403, "ENROLMENT_USED", "this enrolment token is used up; make a new one")
    if row.expires_at_ns is not None and row.expires_at_ns <= now_ns:
        raise ApiError(403, "ENROLMENT_EXPIRED", "this enrolment token has expired; make a new one")
    if row.agent_id not in (None, agent_id):
        raise ApiError(
            403,
            "ENROLMENT_FOR_OTHER_AGENT",
            f"this enrolment token is for agent {row.agent_id!r}",
            {"agent_id": row.agent_id},
        )
    return row


def set_agent(
    connection: Connection, agent_id: str, deed: Deed, now_ns: int, actor: str, remote: str | None = None
) -> None:
    """Make an agent's token void, until it is enrolled again or enabled. ApiError AGENT_NOT_FOUND."""
    agents = schema.agents
    column = "revoked_at_ns" if deed == "revoke" else "disabled_at_ns"
    values = {column: None if deed == "enable" else now_ns}
    if not connection.execute(update(agents).where(agents.c.agent_id == agent_id).values(values)).rowcount:
        raise not_found("agent", agent_id)
    subject = f"agent:{agent_id}"
    audit.record(connection, now_ns, actor=actor, action=f"agent.{deed}", subject=subject, remote=remote)


def agent_rows(connection: Connection) -> Sequence[Row[Any]]:
    """All agents, by id."""
    return connection.execute(select(schema.agents).order_by(schema.agents.c.agent_id)).all()
