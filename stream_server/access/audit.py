"""The audit trail: who did what to which, when, from where, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from stream_server.shares import surpluses
from stream_server.storage import server_schema as schema

_SUMMED_UP_NS: Final = 60 * 1_000_000_000


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
    """Write one record, in the transaction of the deed it is about. Never pass a secret.

    The same by the same actor to the same subject within a minute is summed up: `before` is then of the
    first, all else of the last.
    """
    table = schema.audit
    kind = {"actor": actor, "action": action, "subject": subject}
    last = {"remote": remote, "after": _text(after)}
    query = select(table.c.id, table.c.at_ns, table.c.times).filter_by(**kind).order_by(table.c.id.desc())
    row = connection.execute(query.limit(1)).one_or_none()
    if row is not None and 0 <= at_ns - row.at_ns < _SUMMED_UP_NS:
        again = update(table).where(table.c.id == row.id)
        connection.execute(again.values(times=row.times + 1, last_at_ns=at_ns, **last))
    else:
        connection.execute(insert(table).values(at_ns=at_ns, before=_text(before), **kind, **last))


def surplus(connection: Connection, max_records: int) -> dict[str, int]:
    """How many of their oldest records those actors must give up that have most, so that so many are left."""
    actor = schema.audit.c.actor
    found = connection.execute(select(actor, func.count()).group_by(actor))
    return surpluses({row[0]: row[1] for row in found}, max_records)


def delete_oldest(connection: Connection, actor: str, records: int) -> None:
    """Delete so many records of an actor."""
    table = schema.audit
    # The empty text keeps SQLite from sorting all records of an actor that has millions.
    mine = table.c.actor.concat("") == actor
    oldest = select(table.c.id).where(mine).order_by(table.c.id).limit(records)
    connection.execute(delete(table).where(table.c.id.in_(oldest)))


def _text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def of_action(connection: Connection, action: str) -> Sequence[Row[Any]]:
    """All records of one kind, oldest first."""
    table = schema.audit
    return connection.execute(select(table).where(table.c.action == action).order_by(table.c.id)).all()


def page(connection: Connection, before_id: int | None, limit: int) -> tuple[Sequence[Row[Any]], bool]:
    """At most `limit` records older than record `before_id`, newest first; whether there are more."""
    query = select(schema.audit).order_by(schema.audit.c.id.desc()).limit(limit + 1)
    if before_id is not None:
        query = query.where(schema.audit.c.id < before_id)
    rows = connection.execute(query).all()
    return rows[:limit], len(rows) > limit
