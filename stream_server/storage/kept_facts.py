"""Small facts that are kept across restarts, by key, each in the file it belongs to."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, Table, delete, insert, select

from stream_server.storage.recording_schema import recording_state
from stream_server.storage.server_schema import server_state


class Key(NamedTuple):
    """A fact and the table it is in: a connection to that table's file can get and put it."""

    name: str
    table: Table


ID_RESERVATION: Final = Key("id_reservation_us", server_state)
SIGNED_IN: Final = Key("signed_in_at_ns", server_state)
BACKUP_MADE_AT: Final = Key("backup_made_at_ns", server_state)
"""In a backup, and in what is restored from it until the server has said so: who opens it has gone back."""
STORAGE_ID: Final = Key("storage_id", server_state)
"""32 random hex digits, which name activations; drawn anew where the server finds that it went back."""
LAST_ACTIVATION: Final = Key("last_activation", server_state)
"""The number of the activation that was made last."""
SALVAGE: Final = Key("salvage", recording_state)
"""A damaged file that is being read, as JSON: `file`, `reason`, `page`, the next to be read."""
DAMAGE_REPORT: Final = Key("damage_report", recording_state)
"""What a salvage has found, as JSON, until it is in the audit."""
KNOWN_TIME: Final = Key("known_time", recording_state)
"""The clock that ages count on, as JSON of its Struct."""
CLOCK_CONFIRMED: Final = Key("clock_confirmed_wall_ns", recording_state)
"""An operator has said that the wall clock is right: what it said then."""
SERVER_READY: Final = Key("readyz", server_state)
RECORDING_READY: Final = Key("readyz", recording_state)
LAST_VALUES_PACKET: Final = Key("last_values_packet", recording_state)
BLOCKS_DUE: Final = Key("blocks_due", recording_state)
"""Packets up to this id may be in no block yet."""
RELAY_BOOT: Final = Key("relay_boot", recording_state)
"""The boot that the moments in the relay's tables are of."""
RUNNING_SECONDS: Final = Key("running_seconds", recording_state)


def get(connection: Connection, key: Key) -> str | None:
    """The value of `key`, None when it was never put."""
    name, table = key
    return connection.execute(select(table.c.value).where(table.c.key == name)).scalar_one_or_none()


def remove(connection: Connection, key: Key) -> None:
    """Keep `key` no longer."""
    connection.execute(delete(key.table).where(key.table.c.key == key.name))


def put(connection: Connection, key: Key, value: str) -> None:
    """Store `value` under `key`."""
    name, table = key
    connection.execute(delete(table).where(table.c.key == name))
    connection.execute(insert(table).values(key=name, value=value))
