"""Stored credentials: API tokens, admin links, sessions, and which of any kind are valid.

SQL on one connection, all auditable. Those of machines are made and taken back in `machines`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Column, ColumnElement, Connection, and_, delete, insert, select, update

from stream_server.access import audit
from stream_server.access.roles import Role
from stream_server.access.secrets import hash_secret, new_secret, same
from stream_server.errors import ApiError, not_found
from stream_server.storage import kept_facts
from stream_server.storage import server_schema as schema

Kind = Literal["token", "session", "agent"]
LINK_SECONDS: Final = 15 * 60


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a stored secret belongs to: `subject` as in the audit trail, `role` None for an agent."""

    subject: str
    role: Role | None
    agent_id: str | None = None


def create_api_token(connection: Connection, role: Role, name: str, now_ns: int, actor: str) -> str:
    """A new API token's secret, which is stored nowhere."""
    secret = new_secret("api")
    row = {"token_hash": hash_secret(secret), "role": role, "name": name, "created_at_ns": now_ns}
    token_id = _inserted_id(connection, schema.api_tokens, row)
    audit.record(
        connection,
        now_ns,
        actor=actor,
        action="token.create",
        subject=f"token:{token_id}",
        after={"role": role, "name": name},
    )
    return secret


def revoke_api_token(connection: Connection, token_id: int, now_ns: int, actor: str) -> None:
    """The token is void from now on. ApiError TOKEN_NOT_FOUND when there is none, or it is revoked."""
    table = schema.api_tokens
    changed = connection.execute(
        update(table)
        .where(table.c.id == token_id, table.c.revoked_at_ns.is_(None))
        .values(revoked_at_ns=now_ns)
    )
    if not changed.rowcount:
        raise not_found("token", str(token_id))
    audit.record(connection, now_ns, actor=actor, action="token.revoke", subject=f"token:{token_id}")


def create_admin_link(connection: Connection, now_ns: int, actor: str) -> str:
    """The secret of a link that makes one browser an admin's, once, within 15 minutes."""
    secret = new_secret("link")
    connection.execute(delete(schema.admin_links).where(schema.admin_links.c.expires_at_ns < now_ns))
    connection.execute(
        insert(schema.admin_links),
        {
            "token_hash": hash_secret(secret),
            "created_at_ns": now_ns,
            "expires_at_ns": now_ns + LINK_SECONDS * 1_000_000_000,
        },
    )
    audit.record(connection, now_ns, actor=actor, action="link.create", subject="admin")
    return secret


def take_back(connection: Connection, secret: str, now_ns: int, actor: str) -> None:
    """What was made just now is void: an API token, an enrolment or a link that nobody got to see."""
    for table, action, void in (
        (schema.api_tokens, "token.revoke", {"revoked_at_ns": now_ns}),
        (schema.enrolments, "enrolment.revoke", {"revoked_at_ns": now_ns}),
        (schema.admin_links, "link.revoke", {"used_at_ns": now_ns}),
    ):
        mine = table.c.token_hash == hash_secret(secret)
        row = connection.execute(select(table).where(mine)).one_or_none()
        if row is not None:
            connection.execute(update(table).where(mine).values(void))
            kind = action.partition(".")[0]
            subject = "admin" if kind == "link" else f"{kind}:{row.id}"
            audit.record(connection, now_ns, actor=actor, action=action, subject=subject)


def first_admin_link(connection: Connection, now_ns: int) -> str | None:
    """A link for the newcomer, None once any browser has ever signed in."""
    if kept_facts.get(connection, kept_facts.SIGNED_IN) is not None:
        return None
    return create_admin_link(connection, now_ns, "server start")


def redeem_link(
    connection: Connection, secret: str, session_seconds: float, now_ns: int, remote: str | None
) -> str:
    """The secret of a new admin session for the one who holds an unused link. ApiError 401 otherwise."""
    table = schema.admin_links
    token_hash = hash_secret(secret)
    row = connection.execute(select(table).where(table.c.token_hash == token_hash)).one_or_none()
    if row is None or row.expires_at_ns < now_ns:
        raise ApiError(
            401,
            "LINK_EXPIRED",
            "this link has expired or was never issued; `stream-server admin-link` makes a new one",
        )
    if row.used_at_ns is not None:
        raise ApiError(
            401, "LINK_USED", "this link was used already; `stream-server admin-link` makes a new one"
        )
    connection.execute(update(table).where(table.c.token_hash == token_hash).values(used_at_ns=now_ns))
    session = new_secret("session")
    session_hash = hash_secret(session)
    subject = f"session:{session_hash[:12]}"
    connection.execute(delete(schema.sessions).where(schema.sessions.c.expires_at_ns < now_ns))
    connection.execute(
        insert(schema.sessions),
        {
            "session_hash": session_hash,
            "role": "admin",
            "subject": subject,
            "created_at_ns": now_ns,
            "expires_at_ns": now_ns + int(session_seconds * 1e9),
        },
    )
    kept_facts.put(connection, kept_facts.SIGNED_IN, str(now_ns))
    audit.record(connection, now_ns, actor="link", action="session.open", subject=subject, remote=remote)
    return session


def close_session(connection: Connection, subject: str, now_ns: int, remote: str | None) -> None:
    """The session's cookie is void from now on."""
    connection.execute(delete(schema.sessions).where(schema.sessions.c.subject == subject))
    audit.record(connection, now_ns, actor=subject, action="session.close", subject=subject, remote=remote)


def identify_api_token(connection: Connection, secret: str) -> Identity | None:
    """Whose API token this is; None when it is unknown or revoked."""
    row = _find(connection, "token", secret, 0)
    return None if row is None else Identity(f"token:{row.id}", row.role)


def identify_agent(connection: Connection, secret: str) -> Identity | None:
    """Which agent's token this is; None when it is unknown, replaced, revoked or disabled."""
    row = _find(connection, "agent", secret, 0)
    return None if row is None else Identity(f"agent:{row.agent_id}", None, row.agent_id)


def identify_session(connection: Connection, secret: str, now_ns: int) -> Identity | None:
    """Whose session this is; None when it is unknown, closed or expired."""
    row = _find(connection, "session", secret, now_ns)
    return None if row is None else Identity(row.subject, row.role)


def valid_hashes(connection: Connection, kinds: Iterable[Kind], now_ns: int) -> set[str]:
    """The hashes of all secrets of these kinds that open a door now, in one query for each kind."""
    return {
        stored
        for kind in kinds
        for stored in connection.execute(select(_hash_of(kind)).where(_is_valid(kind, now_ns))).scalars()
    }


def touch_api_tokens(connection: Connection, used: dict[int, int]) -> None:
    """Store when tokens were last used: {id: nanoseconds}."""
    table = schema.api_tokens
    for token_id, used_at_ns in used.items():
        connection.execute(update(table).where(table.c.id == token_id).values(last_used_at_ns=used_at_ns))


def _hash_of(kind: Kind) -> Column[str]:
    match kind:
        case "token":
            return schema.api_tokens.c.token_hash
        case "agent":
            return schema.agents.c.token_hash
        case "session":
            return schema.sessions.c.session_hash


def _is_valid(kind: Kind, now_ns: int) -> ColumnElement[bool]:
    """What ends a credential, by kind: for who asks, and for what is open already."""
    match kind:
        case "token":
            return schema.api_tokens.c.revoked_at_ns.is_(None)
        case "agent":
            agents = schema.agents.c
            return and_(agents.revoked_at_ns.is_(None), agents.disabled_at_ns.is_(None))
        case "session":
            return schema.sessions.c.expires_at_ns >= now_ns


def _find(connection: Connection, kind: Kind, secret: str, now_ns: int) -> Any:
    wanted, stored = hash_secret(secret), _hash_of(kind)
    query = select(stored.table).where(stored == wanted, _is_valid(kind, now_ns))
    row = connection.execute(query).one_or_none()
    return row if row is not None and same(row._mapping[stored], wanted) else None


def _inserted_id(connection: Connection, table: Any, row: dict[str, Any]) -> int:
    key = connection.execute(insert(table).values(row)).inserted_primary_key
    assert key is not None
    return int(key[0])
