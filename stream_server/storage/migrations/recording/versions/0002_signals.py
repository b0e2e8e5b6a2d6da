"""Signal tables, and the last value of each signal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """What a dongle says of its lanes, tables by hash, last values."""
    op.add_column("dongles", sa.Column("frames_mode", sa.String(16), server_default="all", nullable=False))
    op.add_column("dongles", sa.Column("signal_table", sa.String(32), nullable=True))
    op.create_table(
        "signal_tables",
        sa.Column("table_hash", sa.String(length=32), nullable=False),
        sa.Column("stored_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("table_hash", name=op.f("pk_signal_tables")),
    )
    op.create_table(
        "last_values",
        sa.Column("dongle_id", sa.String(length=64), nullable=False),
        sa.Column("table_hash", sa.String(length=32), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["dongle_id"], ["dongles.dongle_id"], name=op.f("fk_last_values_dongle_id")),
        sa.PrimaryKeyConstraint("dongle_id", name=op.f("pk_last_values")),
    )
    # No packet recorded before now holds values; a large recording need not be searched for them.
    op.execute(
        "INSERT INTO server_state (key, value)"
        " SELECT 'last_values_packet', CAST(id AS TEXT) FROM packets ORDER BY id DESC LIMIT 1"
    )
