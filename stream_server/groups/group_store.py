"""Groups in storage. SQL on one connection."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from stream_server.access import audit
from stream_server.errors import not_found
from stream_server.groups.memberships import Group, Memberships, Wanted
from stream_server.storage import server_schema as schema

SIDES = ("A", "B")


def groups(connection: Connection) -> list[tuple[Group, tuple[bool, int | None]]]:
    """Every group, whether a sampling limit was set for it, and which."""
    table = schema.dongle_groups
    a, b = (schema.dongle_group_members.alias(side) for side in SIDES)
    query = (
        select(table, a.c.dongle_id.label("dongle_a_id"), b.c.dongle_id.label("dongle_b_id"))
        .join(a, (a.c.group_id == table.c.group_id) & (a.c.side == "A"))
        .join(b, (b.c.group_id == table.c.group_id) & (b.c.side == "B"))
        .order_by(table.c.group_id)
    )
    return [
        (
            Group(row.group_id, row.dongle_a_id, row.dongle_b_id, row.created_at_ns),
            (row.sampling_set, row.max_frames_per_second),
        )
        for row in connection.execute(query)
    ]


def create(connection: Connection, wanted: Wanted, now_ns: int, actor: str, remote: str | None) -> Group:
    """Store a group of two dongles. ApiError as `Memberships.form`, and DONGLE_NOT_FOUND."""
    table = schema.dongles
    named = (wanted.dongle_a_id, wanted.dongle_b_id)
    known = select(table.c.dongle_id).where(table.c.dongle_id.in_(named))
    for dongle_id in sorted(set(named) - set(connection.execute(known).scalars()), key=named.index):
        raise not_found("dongle", dongle_id)
    formed = Memberships(group for group, _ in groups(connection)).form(wanted, now_ns)
    connection.execute(
        insert(schema.dongle_groups).values(group_id=formed.group_id, created_at_ns=formed.created_at_ns)
    )
    for side, dongle_id in zip(SIDES, formed.dongle_ids, strict=True):
        member = {"dongle_id": dongle_id, "group_id": formed.group_id, "side": side}
        connection.execute(insert(schema.dongle_group_members).values(**member))
    audit.record(
        connection,
        now_ns,
        actor=actor,
        action="group.create",
        subject=f"group:{formed.group_id}",
        remote=remote,
        after=_members(formed),
    )
    return formed


def remove(connection: Connection, group: Group, now_ns: int, actor: str, remote: str | None) -> None:
    """Delete the group; its dongles stay as they are."""
    for table in (schema.group_activations, schema.dongle_group_members, schema.dongle_groups):
        connection.execute(delete(table).where(table.c.group_id == group.group_id))
    audit.record(
        connection,
        now_ns,
        actor=actor,
        action="group.delete",
        subject=f"group:{group.group_id}",
        remote=remote,
        before=_members(group),
    )


def set_sampling(
    connection: Connection, group_id: str, limit: int | None, now_ns: int, actor: str, remote: str | None
) -> None:
    """Store a group's sampling limit, None for none."""
    table = schema.dongle_groups
    row = connection.execute(select(table).where(table.c.group_id == group_id)).one()
    values = {"max_frames_per_second": limit, "sampling_set": True}
    connection.execute(update(table).where(table.c.group_id == group_id).values(**values))
    audit.record(
        connection,
        now_ns,
        actor=actor,
        action="sampling.set",
        subject=f"group:{group_id}",
        remote=remote,
        before={"max_frames_per_second": row.max_frames_per_second} if row.sampling_set else None,
        after={"max_frames_per_second": limit},
    )


def _members(group: Group) -> dict[str, str]:
    return {"dongle_a_id": group.dongle_a_id, "dongle_b_id": group.dongle_b_id}
