"""The tables of `recording.sqlite3`: all that an ack's one transaction touches, and what packets alone make.

A dongle is named by its id: the registry is in another file.
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

from stream_server.storage.columns import Name, RowId, TableHash, new_metadata

metadata: Final = new_metadata()

recording_state: Final = Table(
    "recording_state",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

last_values: Final = Table(
    "last_values",
    metadata,
    Column("dongle_id", Name, primary_key=True),
    Column("table_hash", TableHash, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

lanes: Final = Table(
    "lanes",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("dongle_id", Name, nullable=False),
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
    # Positions that are recorded or in gaps; NULL: it says no positions, and `taken` has what is for numbers.
    Column("known", Text),
    Column("told_frames", BigInteger, nullable=False, server_default="0"),
    Column("told_acknowledged", BigInteger, nullable=False, server_default="0"),
    Column("went_back", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("lane_id", "start_id"),
)

holes: Final = Table(
    "holes",
    metadata,
    Column("start_pk", RowId, ForeignKey("lane_starts.id"), primary_key=True, autoincrement=False),
    # Units are positions, or numbers where a start says no positions; times are of what the server has run.
    Column("first_unit", BigInteger, primary_key=True, autoincrement=False),
    Column("last_unit", BigInteger, nullable=False),
    Column("frames", BigInteger, nullable=False),
    Column("known_since_ns", BigInteger, nullable=False),
    Column("last_listed_ns", BigInteger, nullable=False),
)

# Late data has the number that a gap may stand for, so that gaps cannot lie among the packets. `frames` is
# what is left of it, NULL where nobody knows.
gaps: Final = Table(
    "gaps",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("start_pk", RowId, ForeignKey("lane_starts.id"), nullable=False),
    Column("place", BigInteger, nullable=False),
    Column("reason", SmallInteger, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("parts", Text, nullable=False),
    Column("frames", BigInteger),
    Column("first_ns", BigInteger),
    Column("last_ns", BigInteger),
    Column("received_ns", BigInteger, nullable=False),
    Index("ix_gaps_start_pk_place", "start_pk", "place"),
    sqlite_autoincrement=True,
)

# What the command line asks of a server that runs.
hole_closings: Final = Table(
    "hole_closings",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("dongle_ids", Text, nullable=False),
    Column("frames", BigInteger),
    sqlite_autoincrement=True,
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
    Column("position", BigInteger),
    # Of all other columns, as in checksums.py. NULL: recorded before there was one.
    Column("checksum", BigInteger),
    UniqueConstraint("start_pk", "seq"),
    sqlite_autoincrement=True,
)

# What `packets` has of each block of numbers; a row may be wider than its packets, and outlive them.
packet_blocks: Final = Table(
    "packet_blocks",
    metadata,
    Column("start_pk", RowId, primary_key=True, autoincrement=False),
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("first_ns", BigInteger, nullable=False),
    Column("last_ns", BigInteger, nullable=False),
    Column("gaps", BigInteger, nullable=False),
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

age_marks: Final = Table(
    "age_marks",
    metadata,
    Column("packet_id", RowId, primary_key=True),
    Column("known_ns", BigInteger, nullable=False),
)

retention_totals: Final = Table(
    "retention_totals",
    metadata,
    Column("lane_id", RowId, ForeignKey("lanes.id"), primary_key=True),
    Column("packets", BigInteger, nullable=False),
    Column("frames", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

# What waits for the bus `sink_dongle_id`: each start of the source, as JSON of its Struct, and its packets.
relay_lines: Final = Table(
    "relay_lines",
    metadata,
    Column("source_dongle_id", Name, primary_key=True),
    Column("sink_dongle_id", Name, primary_key=True),
    Column("start_id", String(16), primary_key=True),
    Column("line", Text, nullable=False),
)

relay_rows: Final = Table(
    "relay_rows",
    metadata,
    Column("source_dongle_id", Name, primary_key=True),
    Column("sink_dongle_id", Name, primary_key=True),
    Column("start_id", String(16), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("frames", BigInteger, nullable=False),
    # Of CLOCK_BOOTTIME; NULL: not known.
    Column("born_ns", BigInteger),
    Column("own", LargeBinary, nullable=False),
    Column("in_doubt", Boolean, nullable=False),
)

# Which record of a gateway was handed items last.
relay_served: Final = Table(
    "relay_served",
    metadata,
    Column("source_dongle_id", Name, primary_key=True),
    Column("sink_dongle_id", Name, primary_key=True),
    Column("record_id", String(32), nullable=False),
    Column("anew_ns", BigInteger),
)
