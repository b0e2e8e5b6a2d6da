"""What Alembic runs to migrate: on the connection that `upgrade` hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from stream_server.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
