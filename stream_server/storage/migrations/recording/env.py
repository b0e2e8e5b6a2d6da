"""What Alembic runs to migrate the recording."""

from __future__ import annotations

from stream_server.storage.migrations import in_transaction

in_transaction()
