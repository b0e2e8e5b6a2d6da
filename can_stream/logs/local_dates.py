"""Dates that logs write without a zone: local time of the computer that reads them (`TZ` chooses)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from can_stream.errors import LineError
from can_stream.logs.log_blocks import NS_PER_SECOND

# Nanoseconds since 1970 in 64 bits end in 2262.
_YEARS: Final = range(1900, 2261)


def local_ns(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    """Nanoseconds UTC of a local date and time. Raises `LineError` for one that no calendar has."""
    try:
        if year not in _YEARS:
            raise ValueError
        return round(datetime(year, month, day, hour, minute, second).timestamp()) * NS_PER_SECOND  # noqa: DTZ001
    except (ValueError, OverflowError, OSError) as error:
        raise LineError("not a date and time of the calendar") from error
