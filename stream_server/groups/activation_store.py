"""Activations in storage, each change with its audit record. SQL on one connection."""

from __future__ import annotations

import secrets
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from can_stream.protocol.marker import STORAGE_ID_BYTES, activation_name
from stream_server.access import audit
from stream_server.fleet.side import Facts
from stream_server.groups.activation import SERVER_RESTORED, Activation, Asked
from stream_server.storage import kept_facts
from stream_server.storage import server_schema as schema

_TABLE: Final = schema.group_activations
_PINS: Final = msgspec.json.Decoder(tuple[Facts, Facts])


def load(connection: Connection) -> dict[str, Activation]:
    """The last activation of each group, by its id."""
    return {row.group_id: _activation(row) for row in connection.execute(select(_TABLE))}


def begin(
    connection: Connection,
    group_id: str,
    asked: Asked,
    pins: tuple[Facts, Facts],
    now_ns: int,
    actor: str,
    remote: str | None,
) -> Activation:
    """A new activation of the group, with a name that no other ever had."""
    number = int(kept_facts.get(connection, kept_facts.LAST_ACTIVATION) or 0) + 1
    kept_facts.put(connection, kept_facts.LAST_ACTIVATION, str(number))
    activation = Activation(activation_name(_storage_id(connection), number), asked, now_ns, pins)
    connection.execute(delete(_TABLE).where(_TABLE.c.group_id == group_id))
    row = {
        "group_id": group_id,
        "activation": activation.name,
        "dry_run": asked.dry_run,
        "since_ns": now_ns,
        "active_seconds": asked.active_seconds,
        "pins": msgspec.json.encode(pins).decode(),
        "stopped": "",
    }
    connection.execute(insert(_TABLE).values(**row))
    after = {"activation": activation.name, **msgspec.structs.asdict(asked), "pins": pins}
    _audit(connection, now_ns, actor, "group.activate", group_id, remote, after)
    return activation


def end(connection: Connection, group_id: str, now_ns: int, actor: str, remote: str | None) -> None:
    """The group's activation is over."""
    connection.execute(update(_TABLE).where(_TABLE.c.group_id == group_id).values(ended_at_ns=now_ns))
    _audit(connection, now_ns, actor, "group.deactivate", group_id, remote, None)


def stop(connection: Connection, group_id: str, reason: str, now_ns: int) -> None:
    """Nothing is relayed any more for the group's activation, until there is another."""
    connection.execute(update(_TABLE).where(_TABLE.c.group_id == group_id).values(stopped=reason))
    _audit(connection, now_ns, "server", "group.stopped", group_id, None, {"reason": reason})


def pressure(connection: Connection, group_id: str, now_ns: int, *, is_on: bool) -> None:
    """More frames of the group wait than there is room for, or that is over."""
    action = "group.buffer_pressure" if is_on else "group.buffer_pressure_over"
    _audit(connection, now_ns, "server", action, group_id, None, None)


def mode(
    connection: Connection,
    group_id: str,
    before: dict[str, Any] | None,
    now: dict[str, Any],
    now_ns: int,
) -> None:
    """The group's mode is another, or what it is degraded for."""
    audit.record(
        connection, now_ns, actor="server", action="group.mode", subject=f"group:{group_id}",
        before=before, after=now,
    )  # fmt: skip


def went_back(connection: Connection, now_ns: int) -> None:
    """Another storage id, and every group that is on stops: what was named since is not known here."""
    kept_facts.put(connection, kept_facts.STORAGE_ID, _new_storage_id())
    for group_id, activation in load(connection).items():
        if activation.is_on:
            stop(connection, group_id, SERVER_RESTORED, now_ns)


def is_copy(connection: Connection) -> bool:
    """Whether a backup was opened and nobody has said so yet."""
    return kept_facts.get(connection, kept_facts.BACKUP_MADE_AT) is not None


def _storage_id(connection: Connection) -> str:
    known = kept_facts.get(connection, kept_facts.STORAGE_ID)
    if known is None:
        known = _new_storage_id()
        kept_facts.put(connection, kept_facts.STORAGE_ID, known)
    return known


def _new_storage_id() -> str:
    return secrets.token_hex(STORAGE_ID_BYTES)


def _activation(row: Any) -> Activation:
    asked = Asked(row.dry_run, row.active_seconds)
    pins = _PINS.decode(row.pins)
    ended = row.ended_at_ns is not None
    return Activation(row.activation, asked, row.since_ns, pins, row.stopped, is_ended=ended)


def _audit(
    connection: Connection,
    now_ns: int,
    actor: str,
    action: str,
    group_id: str,
    remote: str | None,
    after: Any,
) -> None:
    subject = f"group:{group_id}"
    audit.record(connection, now_ns, actor=actor, action=action, subject=subject, remote=remote, after=after)
