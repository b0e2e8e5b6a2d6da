"""By which clock the frames of a start were stamped."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """A table of clock records; what was recorded before has none."""
    op.create_table(
        "clock_records",
        sa.Column("start_pk", RowId, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("offset_ns", sa.BigInteger(), nullable=False),
        sa.Column("synchronised", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["start_pk"], ["lane_starts.id"], name=op.f("fk_clock_records_start_pk")),
        sa.PrimaryKeyConstraint("start_pk", "seq", name=op.f("pk_clock_records")),
    )
