"""Times as people and programs read them: UTC, ISO 8601, microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def format_timestamp(wall_us: int) -> str:
    """Microseconds since 1970 as `2025-12-22T15:31:02.000123Z`."""
    seconds, microseconds = divmod(wall_us, 1_000_000)
    return f"{format_seconds(seconds)}.{microseconds:06d}Z"


def format_seconds(seconds: int) -> str:
    """Seconds since 1970 as `2025-12-22T15:31:02`, UTC; ValueError outside the years 1 to 9999."""
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]
    except OverflowError as error:
        raise ValueError(f"{seconds} seconds since 1970 is no date") from error
