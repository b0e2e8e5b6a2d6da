"""The header of a Vector ASC log and what of it stands in its middle: base, kind of times, dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from can_stream.errors import LineError
from can_stream.logs.formats.asc_dates import read_date
from can_stream.logs.log_blocks import COMMENT, HEADER, MAX_SECONDS, NS_PER_SECOND

_LATEST_NS: Final = MAX_SECONDS * NS_PER_SECOND
# A log whose first time is not much later than its own time of day, and that is an hour or more.
_LATE_IN_THE_DAY: Final = 3600
_SOON_NS: Final = 600 * NS_PER_SECOND
_BASE: Final = re.compile(rb"\bbase\s+(hex|dec)\b", re.IGNORECASE)
_TIMES: Final = re.compile(rb"\btimestamps\s+(absolute|relative)\b", re.IGNORECASE)
_SETTINGS: Final = frozenset((b"base", b"timestamps"))
_WITHOUT_MEANING: Final = frozenset((b"end", b"internal", b"no", b"measurement", b"start"))
# `date`, `Begin Triggerblock` and what follows.
_DATE: Final = re.compile(rb"(?:date|begin\s+triggerblock)\b\s*", re.IGNORECASE)


class AscClock(Struct):
    """Times of one log, nanoseconds UTC: offsets from its last date, or differences from line to line."""

    origin_ns: int = 0
    now_ns: int = 0
    is_relative: bool = False
    has_date: bool = False
    is_local: bool = False
    is_told: bool = False
    # Of a date in a header that does not say what times count from.
    time_of_day_ns: int = 0

    def read(self, stamp_ns: int) -> int:
        """The time of an event with this stamp. Raises `LineError` where 64 bits do not hold it."""
        if self.time_of_day_ns:
            self._find_midnight(stamp_ns)
        time = (self.now_ns if self.is_relative else self.origin_ns) + stamp_ns
        if abs(time) > _LATEST_NS:
            raise LineError("timestamp out of range")
        self.now_ns = time
        return time

    def start(self, origin_ns: int, *, is_local: bool) -> None:
        """Count from this date."""
        self.origin_ns = self.now_ns = origin_ns
        self.has_date, self.is_local = True, is_local
        self.time_of_day_ns = 0
        if is_local and not self.is_told:
            date = datetime.fromtimestamp(origin_ns // NS_PER_SECOND)  # noqa: DTZ006 - as it was written
            seconds = (date.hour * 60 + date.minute) * 60 + date.second
            self.time_of_day_ns = seconds * NS_PER_SECOND if seconds >= _LATE_IN_THE_DAY else 0

    def _find_midnight(self, stamp_ns: int) -> None:
        """BUSMASTER counts from midnight: then the first time of the log is the time of day of its date."""
        if -NS_PER_SECOND <= stamp_ns - self.time_of_day_ns <= _SOON_NS:
            self.origin_ns -= self.time_of_day_ns
        self.time_of_day_ns = 0

    def use(self, *, relative: bool) -> None:
        """Read stamps as differences, or as offsets."""
        if relative and not self.is_relative:
            self.now_ns = self.origin_ns
        self.is_relative = relative
        self.is_told, self.time_of_day_ns = True, 0


class AscHeader:
    """What the header lines said so far. Without any: hexadecimal, absolute, times from 0."""

    def __init__(self) -> None:
        self.base = 16
        self.clock: Final = AscClock()
        self._unread_date: bytes | None = None

    def read_line(self, line: bytes, words: Sequence[bytes]) -> str:
        """The kind of a line without a time, `words` being its words. Raises `LineError`."""
        first = words[0].lower()
        if first.startswith(b"//"):
            return COMMENT
        date = _DATE.match(line)
        if date is not None:
            self._read_date(line[date.end() :], is_needed=first == b"date")
        elif first in _SETTINGS:
            self._read_settings(line, first)
        elif first not in _WITHOUT_MEANING:
            raise LineError("not a line of an ASC log")
        return HEADER

    def _read_settings(self, line: bytes, first: bytes) -> None:
        base, times = _BASE.search(line), _TIMES.search(line)
        if base is None and first == b"base":
            raise LineError("the base is neither hex nor dec: numbers are read as before")
        if base is not None:
            self.base = 10 if base[1].lower() == b"dec" else 16
        if times is not None:
            self.clock.use(relative=times[1].lower() == b"relative")

    def _read_date(self, text: bytes, *, is_needed: bool) -> None:
        """Count from the date `text`. One that cannot be read is a fault once, not in each block again."""
        if not text and not is_needed:
            return
        try:
            origin_ns, is_local = read_date(text)
        except LineError as error:
            if text == self._unread_date:
                return
            self._unread_date = text
            if self.clock.has_date:
                raise LineError(
                    "the date of this part cannot be read: its times go on from the date before"
                ) from error
            raise LineError("the date of the header cannot be read: times count from 0") from error
        self.clock.start(origin_ns, is_local=is_local)
