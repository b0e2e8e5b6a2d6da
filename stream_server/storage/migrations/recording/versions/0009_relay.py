"""What waits for the buses of active groups, beside the packets: one transaction stores both."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Nothing was relayed."""
    op.create_table(
        "relay_lines",
        sa.Column("source_dongle_id", sa.String(length=64), nullable=False),
        sa.Column("sink_dongle_id", sa.String(length=64), nullable=False),
        sa.Column("start_id", sa.String(length=16), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "source_dongle_id", "sink_dongle_id", "start_id", name=op.f("pk_relay_lines")
        ),
    )
    op.create_table(
        "relay_rows",
        sa.Column("source_dongle_id", sa.String(length=64), nullable=False),
        sa.Column("sink_dongle_id", sa.String(length=64), nullable=False),
        sa.Column("start_id", sa.String(length=16), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("born_ns", sa.BigInteger(), nullable=True),
        sa.Column("own", sa.LargeBinary(), nullable=False),
        sa.Column("in_doubt", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint(
            "source_dongle_id", "sink_dongle_id", "start_id", "seq", name=op.f("pk_relay_rows")
        ),
    )
    op.create_table(
        "relay_served",
        sa.Column("source_dongle_id", sa.String(length=64), nullable=False),
        sa.Column("sink_dongle_id", sa.String(length=64), nullable=False),
        sa.Column("record_id", sa.String(length=32), nullable=False),
        sa.Column("anew_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("source_dongle_id", "sink_dongle_id", name=op.f("pk_relay_served")),
    )
