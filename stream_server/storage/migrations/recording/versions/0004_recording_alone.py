"""The recording has a file of its own: what is about agents and users is no longer in it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

MOVED = (
    "services", "dongles", "agents", "signal_tables", "api_tokens", "enrolments", "admin_links", "sessions",
    "audit",
)  # fmt: skip


def upgrade() -> None:
    """Drop what `stream_server.storage.splitting` has copied out; large tables stay as they are."""
    op.create_table(
        "recording_state",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_recording_state")),
    )
    op.execute(
        "INSERT INTO recording_state (key, value)"
        " SELECT key, value FROM server_state WHERE key = 'last_values_packet'"
    )
    op.drop_table("server_state")
    for name, key in (("lanes", "fk_lanes_dongle_id"), ("last_values", "fk_last_values_dongle_id")):
        with op.batch_alter_table(name) as table:
            table.drop_constraint(key, type_="foreignkey")
    for name in MOVED:
        op.drop_table(name)
