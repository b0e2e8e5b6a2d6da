"""Dates that logs write without a zone: local time of the computer that reads them (`TZ` chooses)."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Final

from can_stream.errors import LineError
from can_stream.logs.log_blocks import NS_PER_SECOND

# Nanoseconds since 1970 in 64 bits reach from 1677 to 2262.
_YEARS: Final = range(1700, 2261)


def local_ns(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    """Nanoseconds UTC of a local date and time. Raises `LineError` for one that no calendar has."""
    return _ns((year, month, day, hour, minute, second), None)


def utc_ns(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """The same of a date and time in UTC."""
    return _ns((year, month, day, hour, minute, second), UTC)


def _ns(parts: tuple[int, int, int, int, int, int], zone: tzinfo | None) -> int:
    try:
        if parts[0] not in _YEARS:
            raise ValueError
        return round(datetime(*parts, tzinfo=zone).timestamp()) * NS_PER_SECOND
    except (ValueError, OverflowError, OSError) as error:
        raise LineError("not a date and time of the calendar") from error
