"""Audit records of one kind are summed up."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "server_0003"
down_revision = "server_0002"


def upgrade() -> None:
    """Each record of before stands for one deed."""
    op.add_column("audit", sa.Column("times", sa.Integer(), server_default="1", nullable=False))
    op.add_column("audit", sa.Column("last_at_ns", sa.BigInteger()))
    op.create_index("ix_audit_actor_action_subject", "audit", ["actor", "action", "subject"])
