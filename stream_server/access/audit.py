"""The audit trail: who did what to which, when, from where, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select

from stream_server.storage import server_schema as schema


def record(
    connection: Connection,
    at_ns: int,
    *,
    actor: str,
    action: str,
    subject: str,
    remote: str | None = None,
    before: Any = None,
    after: Any = None,
) -> None:
    """Write one record, in the transaction of the deed it is about. Never pass a secret."""
    connection.execute(
        insert(schema.audit),
        {
            "at_ns": at_ns,
            "actor": actor,
            "action": action,
            "subject": subject,
            "remote": remote,
            "before": None if before is None else msgspec.json.encode(before).decode(),
            "after": None if after is None else msgspec.json.encode(after).decode(),
        },
    )


def page(connection: Connection, before_id: int | None, limit: int) -> tuple[Sequence[Row[Any]], bool]:
    """At most `limit` records older than record `before_id`, newest first; whether there are more."""
    query = select(schema.audit).order_by(schema.audit.c.id.desc()).limit(limit + 1)
    if before_id is not None:
        query = query.where(schema.audit.c.id < before_id)
    rows = connection.execute(query).all()
    return rows[:limit], len(rows) > limit
