"""Small facts the server keeps across restarts, by key."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, insert, select

from stream_server.storage.schema import server_state

ID_RESERVATION: Final = "id_reservation_us"
LAST_VALUES_PACKET: Final = "last_values_packet"
SIGNED_IN: Final = "signed_in_at_ns"


def get(connection: Connection, key: str) -> str | None:
    """The value of `key`, None when it was never put."""
    query = select(server_state.c.value).where(server_state.c.key == key)
    return connection.execute(query).scalar_one_or_none()


def put(connection: Connection, key: str, value: str) -> None:
    """Store `value` under `key`."""
    connection.execute(delete(server_state).where(server_state.c.key == key))
    connection.execute(insert(server_state).values(key=key, value=value))
