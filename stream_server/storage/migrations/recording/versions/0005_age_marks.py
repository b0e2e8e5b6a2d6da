"""How old packets are, by a clock that no jump of the wall clock moves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """A table of marks; what was recorded before gets them at the first look, by its times of receipt."""
    op.create_table(
        "age_marks",
        sa.Column("packet_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("known_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("packet_id", name=op.f("pk_age_marks")),
    )
