"""The tables. All times are integer nanoseconds UTC; JSON is text, so that every database can hold it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only where the key's type is INTEGER.
RowId: Final = BigInteger().with_variant(Integer, "sqlite")
Name: Final = String(64)
Hash: Final = String(64)
TableHash: Final = String(32)

agents: Final = Table(
    "agents",
    metadata,
    Column("agent_id", Name, primary_key=True),
    Column("token_hash", Hash, nullable=False, unique=True),
    Column("version", Text, nullable=False, server_default=""),
    Column("created_at_ns", BigInteger, nullable=False),
    Column("last_seen_at_ns", BigInteger),
    Column("start_id", String(16)),
    Column("boot_id", Text),
    Column("clock_synchronised", Boolean),
    Column("remote", Text),
)

dongles: Final = Table(
    "dongles",
    metadata,
    Column("dongle_id", Name, primary_key=True),
    Column("agent_id", Name, ForeignKey("agents.agent_id"), nullable=False, index=True),
    Column("interface", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("device_id", Text),
    Column("mode", Text, nullable=False),
    Column("bitrate", BigInteger),
    Column("fd", Boolean, nullable=False),
    Column("data_bitrate", BigInteger),
    Column("listed", Boolean, nullable=False),
    Column("max_frames_per_second", Integer),
    Column("sampling_set", Boolean, nullable=False, server_default=false()),
    Column("created_at_ns", BigInteger, nullable=False),
    Column("frames_mode", String(16), nullable=False, server_default="all"),
    Column("signal_table", TableHash),
)

signal_tables: Final = Table(
    "signal_tables",
    metadata,
    Column("table_hash", TableHash, primary_key=True),
    Column("stored_at_ns", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

last_values: Final = Table(
    "last_values",
    metadata,
    Column("dongle_id", Name, ForeignKey("dongles.dongle_id"), primary_key=True),
    Column("table_hash", TableHash, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

services: Final = Table(
    "services",
    metadata,
    Column("agent_id", Name, ForeignKey("agents.agent_id"), primary_key=True),
    Column("agent_service_id", Text, primary_key=True),
    Column("service_id", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("service_type", Text, nullable=False),
    Column("status_code", SmallInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("last_seen", Text, nullable=False),
    Column("metrics", Text, nullable=False),
)

api_tokens: Final = Table(
    "api_tokens",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("token_hash", Hash, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("created_at_ns", BigInteger, nullable=False),
    Column("revoked_at_ns", BigInteger),
    Column("last_used_at_ns", BigInteger),
    sqlite_autoincrement=True,
)

enrolments: Final = Table(
    "enrolments",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("token_hash", Hash, nullable=False, unique=True),
    Column("agent_id", Name),
    Column("uses_left", Integer, nullable=False),
    Column("created_at_ns", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

admin_links: Final = Table(
    "admin_links",
    metadata,
    Column("token_hash", Hash, primary_key=True),
    Column("created_at_ns", BigInteger, nullable=False),
    Column("expires_at_ns", BigInteger, nullable=False),
    Column("used_at_ns", BigInteger),
)

sessions: Final = Table(
    "sessions",
    metadata,
    Column("session_hash", Hash, primary_key=True),
    Column("role", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("created_at_ns", BigInteger, nullable=False),
    Column("expires_at_ns", BigInteger, nullable=False),
)

audit: Final = Table(
    "audit",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("remote", Text),
    Column("before", Text),
    Column("after", Text),
    sqlite_autoincrement=True,
)

server_state: Final = Table(
    "server_state",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

lanes: Final = Table(
    "lanes",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("dongle_id", Name, ForeignKey("dongles.dongle_id"), nullable=False),
    Column("lane", String(16), nullable=False),
    UniqueConstraint("dongle_id", "lane"),
)

lane_starts: Final = Table(
    "lane_starts",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("lane_id", RowId, ForeignKey("lanes.id"), nullable=False),
    Column("start_id", String(16), nullable=False),
    Column("taken", Text, nullable=False),
    Column("packets", BigInteger, nullable=False, server_default="0"),
    Column("frames", BigInteger, nullable=False, server_default="0"),
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("lane_id", "start_id"),
)

holes: Final = Table(
    "holes",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("start_pk", RowId, ForeignKey("lane_starts.id"), nullable=False, index=True),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("frames", BigInteger, nullable=False),
    Column("announced_at_ns", BigInteger, nullable=False),
)

packets: Final = Table(
    "packets",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("start_pk", RowId, ForeignKey("lane_starts.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("frames", BigInteger),
    Column("first_ns", BigInteger, nullable=False),
    Column("last_ns", BigInteger, nullable=False),
    Column("received_ns", BigInteger, nullable=False),
    Column("is_backlog", Boolean, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    UniqueConstraint("start_pk", "seq"),
    sqlite_autoincrement=True,
)

clock_records: Final = Table(
    "clock_records",
    metadata,
    Column("start_pk", RowId, ForeignKey("lane_starts.id"), primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True),
    Column("boot_id", String(64), nullable=False),
    Column("offset_ns", BigInteger, nullable=False),
    Column("synchronised", Boolean, nullable=False),
)

retention_totals: Final = Table(
    "retention_totals",
    metadata,
    Column("lane_id", RowId, ForeignKey("lanes.id"), primary_key=True),
    Column("packets", BigInteger, nullable=False),
    Column("frames", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)
