"""Whether a packet's row still is what was recorded: SQLite does not notice bytes that change in it. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final

COVERED: Final = (
    "body", "start_pk", "seq", "first_seq", "kind", "frames", "first_ns", "last_ns", "received_ns",
    "is_backlog", "size_bytes", "position",
)  # fmt: skip
"""The columns that `row_checksum` takes, in this order."""

_REST_BITS: Final = 31  # a number of SQLite has 63, and a sign


def row_checksum(body: bytes, *numbers: int | None) -> int:
    """The CRC-32 of the body, and in the lower 31 bits the upper ones of that of the other columns."""
    # Of a bool SQLite makes a number, and what numpy has counted it stores as one.
    text = ",".join("" if number is None else str(int(number)) for number in numbers)
    return zlib.crc32(body) << _REST_BITS | zlib.crc32(text.encode()) >> 1


def checksum_of(row: Mapping[str, Any]) -> int:
    """The checksum of a row by column."""
    return row_checksum(*(row[name] for name in COVERED))


def is_unchanged(row: Mapping[str, Any]) -> bool:
    """Whether a row by column is what was recorded, as far as its checksum says so."""
    checksum = row.get("checksum")
    return checksum is None or checksum == checksum_of(row)


def is_body_unchanged(row: Mapping[str, Any]) -> bool:
    """The same of its body alone."""
    checksum = row.get("checksum")
    return checksum is None or checksum >> _REST_BITS == zlib.crc32(row["body"])
