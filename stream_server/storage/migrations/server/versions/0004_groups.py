"""Two dongles can be a group."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "server_0004"
down_revision = "server_0003"


def upgrade() -> None:
    """There are none yet."""
    op.create_table(
        "dongle_groups",
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("max_frames_per_second", sa.Integer(), nullable=True),
        sa.Column("sampling_set", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("group_id", name=op.f("pk_dongle_groups")),
    )
    op.create_table(
        "dongle_group_members",
        sa.Column("dongle_id", sa.String(length=64), nullable=False),
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("side", sa.String(length=1), nullable=False),
        sa.ForeignKeyConstraint(
            ["dongle_id"], ["dongles.dongle_id"], name=op.f("fk_dongle_group_members_dongle_id")
        ),
        sa.ForeignKeyConstraint(
            ["group_id"], ["dongle_groups.group_id"], name=op.f("fk_dongle_group_members_group_id")
        ),
        sa.PrimaryKeyConstraint("dongle_id", name=op.f("pk_dongle_group_members")),
        sa.UniqueConstraint("group_id", "side", name=op.f("uq_dongle_group_members_group_id_side")),
    )
