"""Groups can be active; what gateways let a relay do outlives a restart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "server_0005"
down_revision = "server_0004"


def upgrade() -> None:
    """No group was active, and no agent has said that it knows of a relay."""
    op.create_table(
        "relay_sides",
        sa.Column("dongle_id", sa.String(length=64), nullable=False),
        sa.Column("knows_relay", sa.Boolean(), nullable=False),
        sa.Column("allows", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["dongle_id"], ["dongles.dongle_id"], name=op.f("fk_relay_sides_dongle_id")),
        sa.PrimaryKeyConstraint("dongle_id", name=op.f("pk_relay_sides")),
    )
    op.create_table(
        "group_activations",
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("activation", sa.String(length=64), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("since_ns", sa.BigInteger(), nullable=False),
        sa.Column("active_seconds", sa.BigInteger(), nullable=True),
        sa.Column("pins", sa.Text(), nullable=False),
        sa.Column("stopped", sa.Text(), nullable=False),
        sa.Column("ended_at_ns", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["group_id"], ["dongle_groups.group_id"], name=op.f("fk_group_activations_group_id")
        ),
        sa.PrimaryKeyConstraint("group_id", name=op.f("pk_group_activations")),
    )
