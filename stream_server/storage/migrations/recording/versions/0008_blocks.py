"""Searches by time read only the blocks of packets in which something can be."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """A small table, filled in the background: to look at a large recording takes minutes."""
    row_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "packet_blocks",
        sa.Column("start_pk", row_id, autoincrement=False, nullable=False),
        sa.Column("block", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_ns", sa.BigInteger(), nullable=False),
        sa.Column("gaps", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("start_pk", "block", name=op.f("pk_packet_blocks")),
    )
    op.execute(
        "INSERT INTO recording_state SELECT 'blocks_due', max(id) FROM packets HAVING max(id) IS NOT NULL"
    )
