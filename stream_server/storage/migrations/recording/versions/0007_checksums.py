"""Packets say whether they still are what was recorded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Packets of before have none: nobody knows what they were."""
    op.add_column("packets", sa.Column("checksum", sa.BigInteger()))
