"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table of the first release."""
    op.create_table(
        "admin_links",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("used_at_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_admin_links")),
    )
    op.create_table(
        "agents",
        sa.Column("agent_id", sa.String(length=64), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at_ns", sa.BigInteger(), nullable=True),
        sa.Column("start_id", sa.String(length=16), nullable=True),
        sa.Column("boot_id", sa.Text(), nullable=True),
        sa.Column("clock_synchronised", sa.Boolean(), nullable=True),
        sa.Column("remote", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_agents")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_agents_token_hash")),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", RowId, nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at_ns", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_tokens_token_hash")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "audit",
        sa.Column("id", RowId, nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("remote", sa.Text(), nullable=True),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "enrolments",
        sa.Column("id", RowId, nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("agent_id", sa.String(length=64), nullable=True),
        sa.Column("uses_left", sa.Integer(), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolments")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_enrolments_token_hash")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "server_state",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_server_state")),
    )
    op.create_table(
        "sessions",
        sa.Column("session_hash", sa.String(length=64), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_hash", name=op.f("pk_sessions")),
    )
    op.create_table(
        "dongles",
        sa.Column("dongle_id", sa.String(length=64), nullable=False),
        sa.Column("agent_id", sa.String(length=64), nullable=False),
        sa.Column("interface", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=True),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("bitrate", sa.BigInteger(), nullable=True),
        sa.Column("fd", sa.Boolean(), nullable=False),
        sa.Column("data_bitrate", sa.BigInteger(), nullable=True),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.Column("max_frames_per_second", sa.Integer(), nullable=True),
        sa.Column("sampling_set", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.agent_id"], name=op.f("fk_dongles_agent_id")),
        sa.PrimaryKeyConstraint("dongle_id", name=op.f("pk_dongles")),
    )
    op.create_index(op.f("ix_dongles_agent_id"), "dongles", ["agent_id"], unique=False)
    op.create_table(
        "services",
        sa.Column("agent_id", sa.String(length=64), nullable=False),
        sa.Column("agent_service_id", sa.Text(), nullable=False),
        sa.Column("service_id", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("service_type", sa.Text(), nullable=False),
        sa.Column("status_code", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("last_seen", sa.Text(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.agent_id"], name=op.f("fk_services_agent_id")),
        sa.PrimaryKeyConstraint("agent_id", "agent_service_id", name=op.f("pk_services")),
    )
    op.create_table(
        "lanes",
        sa.Column("id", RowId, nullable=False),
        sa.Column("dongle_id", sa.String(length=64), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["dongle_id"], ["dongles.dongle_id"], name=op.f("fk_lanes_dongle_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lanes")),
        sa.UniqueConstraint("dongle_id", "lane", name=op.f("uq_lanes_dongle_id_lane")),
    )
    op.create_table(
        "lane_starts",
        sa.Column("id", RowId, nullable=False),
        sa.Column("lane_id", RowId, nullable=False),
        sa.Column("start_id", sa.String(length=16), nullable=False),
        sa.Column("taken", sa.Text(), nullable=False),
        sa.Column("packets", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("frames", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["lane_id"], ["lanes.id"], name=op.f("fk_lane_starts_lane_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lane_starts")),
        sa.UniqueConstraint("lane_id", "start_id", name=op.f("uq_lane_starts_lane_id_start_id")),
    )
    op.create_table(
        "retention_totals",
        sa.Column("lane_id", RowId, nullable=False),
        sa.Column("packets", sa.BigInteger(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["lane_id"], ["lanes.id"], name=op.f("fk_retention_totals_lane_id")),
        sa.PrimaryKeyConstraint("lane_id", name=op.f("pk_retention_totals")),
    )
    op.create_table(
        "holes",
        sa.Column("id", RowId, nullable=False),
        sa.Column("start_pk", RowId, nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=False),
        sa.Column("announced_at_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["start_pk"], ["lane_starts.id"], name=op.f("fk_holes_start_pk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holes")),
    )
    op.create_index(op.f("ix_holes_start_pk"), "holes", ["start_pk"], unique=False)
    op.create_table(
        "packets",
        sa.Column("id", RowId, nullable=False),
        sa.Column("start_pk", RowId, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("frames", sa.BigInteger(), nullable=True),
        sa.Column("first_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_ns", sa.BigInteger(), nullable=False),
        sa.Column("received_ns", sa.BigInteger(), nullable=False),
        sa.Column("is_backlog", sa.Boolean(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["start_pk"], ["lane_starts.id"], name=op.f("fk_packets_start_pk")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_packets")),
        sa.UniqueConstraint("start_pk", "seq", name=op.f("uq_packets_start_pk_seq")),
        sqlite_autoincrement=True,
    )
