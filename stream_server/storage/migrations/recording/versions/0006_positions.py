"""Positions of frames, gaps in a table of their own, and holes that age while the server runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Large tables stay in place: gaps of before lie among the packets until one of them is found."""
    op.add_column("packets", sa.Column("position", sa.BigInteger()))
    for column in (
        sa.Column("known", sa.Text()),
        sa.Column("told_frames", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("told_acknowledged", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("went_back", sa.Boolean(), server_default=sa.false(), nullable=False),
    ):
        op.add_column("lane_starts", column)
    _gaps()
    _holes()
    op.create_table(
        "hole_closings",
        sa.Column("id", RowId, nullable=False),
        sa.Column("dongle_ids", sa.Text(), nullable=False),
        sa.Column("frames", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hole_closings")),
        sqlite_autoincrement=True,
    )


def _gaps() -> None:
    op.create_table(
        "gaps",
        sa.Column("id", RowId, nullable=False),
        sa.Column("start_pk", RowId, nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.SmallInteger(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("parts", sa.Text(), nullable=False),
        sa.Column("frames", sa.BigInteger()),
        sa.Column("first_ns", sa.BigInteger()),
        sa.Column("last_ns", sa.BigInteger()),
        sa.Column("received_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["start_pk"], ["lane_starts.id"], name=op.f("fk_gaps_start_pk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gaps")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_gaps_start_pk_place", "gaps", ["start_pk", "place"])


def _holes() -> None:
    op.execute("DROP INDEX ix_holes_start_pk")
    op.rename_table("holes", "holes_before")
    op.create_table(
        "holes",
        sa.Column("start_pk", RowId, autoincrement=False, nullable=False),
        sa.Column("first_unit", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_unit", sa.BigInteger(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("known_since_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_listed_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["start_pk"], ["lane_starts.id"], name=op.f("fk_holes_start_pk")),
        sa.PrimaryKeyConstraint("start_pk", "first_unit", name=op.f("pk_holes")),
    )
    # How long the server has run is counted from this upgrade on.
    op.execute(
        "INSERT INTO holes SELECT start_pk, first_seq, max(last_seq), sum(frames), 0, 0 FROM holes_before"
        " GROUP BY start_pk, first_seq"
    )
    op.drop_table("holes_before")
