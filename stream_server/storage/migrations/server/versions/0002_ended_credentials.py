"""Credentials of machines can be taken back, and enrolment tokens expire."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "server_0002"
down_revision = "server_0001"


def upgrade() -> None:
    """What there is goes on as it was: enrolment tokens of before do not expire."""
    for table, column in (
        ("agents", "revoked_at_ns"),
        ("agents", "disabled_at_ns"),
        ("enrolments", "revoked_at_ns"),
        ("enrolments", "expires_at_ns"),
    ):
        op.add_column(table, sa.Column(column, sa.BigInteger()))
