"""The tables of `server.sqlite3`: who may do what, the fleet, the audit. JSON is text, for any database.

Signal tables are here, not with the packets: the registry names them, and they outlive a damaged recording.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from stream_server.storage.columns import Hash, Name, RowId, TableHash, new_metadata

metadata: Final = new_metadata()

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
    Column("revoked_at_ns", BigInteger),
    Column("disabled_at_ns", BigInteger),
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

dongle_groups: Final = Table(
    "dongle_groups",
    metadata,
    Column("group_id", Name, primary_key=True),
    Column("created_at_ns", BigInteger, nullable=False),
    Column("max_frames_per_second", Integer),
    Column("sampling_set", Boolean, nullable=False, server_default=false()),
)

# Its key keeps a dongle from being in two groups, whatever the code does.
dongle_group_members: Final = Table(
    "dongle_group_members",
    metadata,
    Column("dongle_id", Name, ForeignKey("dongles.dongle_id"), primary_key=True),
    Column("group_id", Name, ForeignKey("dongle_groups.group_id"), nullable=False),
    # A or B, as the API calls them.
    Column("side", String(1), nullable=False),
    UniqueConstraint("group_id", "side"),
)

# What its gateway lets a relay do with a dongle, as JSON, and whether its agent knows of a relay.
relay_sides: Final = Table(
    "relay_sides",
    metadata,
    Column("dongle_id", Name, ForeignKey("dongles.dongle_id"), primary_key=True),
    Column("knows_relay", Boolean, nullable=False),
    Column("allows", Text, nullable=False),
)

# The last activation of each group; `ended_at_ns` is NULL while nobody has ended it.
group_activations: Final = Table(
    "group_activations",
    metadata,
    Column("group_id", Name, ForeignKey("dongle_groups.group_id"), primary_key=True),
    Column("activation", String(64), nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("since_ns", BigInteger, nullable=False),
    Column("active_seconds", BigInteger),
    # What both sides were, as JSON.
    Column("pins", Text, nullable=False),
    # Why nothing is relayed until an operator activates again; "" while that is not so.
    Column("stopped", Text, nullable=False),
    Column("ended_at_ns", BigInteger),
)

signal_tables: Final = Table(
    "signal_tables",
    metadata,
    Column("table_hash", TableHash, primary_key=True),
    Column("stored_at_ns", BigInteger, nullable=False),
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
    Column("revoked_at_ns", BigInteger),
    # NULL: made by a server of before, never.
    Column("expires_at_ns", BigInteger),
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
    # How many deeds it stands for, and when the last of them was; NULL where it is one.
    Column("times", Integer, nullable=False, server_default="1"),
    Column("last_at_ns", BigInteger),
    Index("ix_audit_actor_action_subject", "actor", "action", "subject"),
    sqlite_autoincrement=True,
)

server_state: Final = Table(
    "server_state",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
