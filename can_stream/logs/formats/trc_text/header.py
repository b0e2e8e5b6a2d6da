"""What the lines of a TRC file that begin with `;` say: version, columns, and when the trace began.

Public source: PEAK-System, "PEAK CAN TRC File Format". `$STARTTIME` counts days since 1899-12-30; version 1.0
has only a comment, `Start time: ...`, in the order of the country that wrote it. Neither names a zone.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final

from msgspec import Struct

from can_stream.errors import LineError
from can_stream.logs.local_dates import local_ns, utc_ns
from can_stream.logs.log_blocks import COMMENT, HEADER, NS_PER_SECOND

_DAY_ZERO: Final = date(1899, 12, 30)
# Day 0 is what was never set.
_FIRST_DAY: Final = (date(1900, 1, 1) - _DAY_ZERO).days
_LAST_DAY: Final = (date(2261, 1, 1) - _DAY_ZERO).days
_SECONDS_PER_DAY: Final = 86_400
_KEYWORD: Final = re.compile(rb";\$(FILEVERSION|STARTTIME|COLUMNS)=", re.IGNORECASE)
_DAYS: Final = re.compile(rb"(\d{1,6})(?:[.,](\d{1,24}))?")
_START_COMMENT: Final = re.compile(rb";[ \t]*Start time:", re.IGNORECASE)
# PEAK's tools write tenths of milliseconds behind a second dot: 15:10:41.907.7
_DATE: Final = re.compile(
    rb"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})[ T]+(\d{1,2}):(\d\d):(\d\d)(?:[.,](\d{1,9})(?:\.(\d{1,6}))?)?"
    rb"(?: *([AP])M)?(Z|[+-]\d\d:\d\d)?",
    re.IGNORECASE,
)
_REMEDY: Final = "times count from the start of the trace: --start-time gives its date"


class TrcColumns(Struct, frozen=True):
    """Where in a line each field is, None where it has none; the data bytes come last, from `data` on.

    `is_typed`: versions 2.x, with a message type of two letters and a direction of its own. `is_code`: the
    length is a length code. `has_messages`: may hold J1939 messages, which are longer than a frame.
    """

    number: int | None
    time: int
    kind: int | None
    bus: int | None
    identifier: int
    direction: int | None
    length: int
    data: int
    is_typed: bool
    is_code: bool
    has_messages: bool


def columns_of(
    letters: str, *, is_typed: bool, is_code: bool = False, has_messages: bool = False
) -> TrcColumns | None:
    """The columns that `$COLUMNS` names, such as `N,O,T,B,I,d,R,L,D`; None where frames cannot be read so."""
    names = [name.strip() for name in letters.split(",")]
    place = {name: index for index, name in enumerate(names)}
    length = place.get("L", place.get("l"))
    known = set(place) <= set("NOTBIdRlLD") and len(place) == len(names) and not {"l", "L"} <= set(place)
    needed = {"O", "I", "D", "T"} if is_typed else {"O", "I", "D"}
    if length is None or not known or not needed <= set(place) or names[-1] != "D":
        return None
    return TrcColumns(
        number=place.get("N"),
        time=place["O"],
        kind=place.get("T"),
        bus=place.get("B"),
        identifier=place["I"],
        direction=place.get("d"),
        length=length,
        data=place["D"],
        is_typed=is_typed,
        is_code=is_code or "L" in place,
        has_messages=has_messages or (is_typed and "l" in place),
    )


_BY_VERSION: Final = {
    b"1.0": columns_of("N,O,I,l,D", is_typed=False, is_code=True),
    b"1.1": columns_of("N,O,T,I,l,D", is_typed=False, is_code=True),
    b"1.2": columns_of("N,O,B,T,I,l,D", is_typed=False, is_code=True),
    b"1.3": columns_of("N,O,B,T,I,R,l,D", is_typed=False, is_code=True, has_messages=True),
}
_TYPED_VERSIONS: Final = (b"2.0", b"2.1")


class TrcHeader(Struct):
    """The state of a trace. `start_ns`: when it began, 0 where that is not known.

    `columns` None: its lines cannot be read, for `reason`. `is_local`: the start was written without a zone.
    """

    version: bytes = b"1.0"
    columns: TrcColumns | None = _BY_VERSION[b"1.0"]
    reason: str = ""
    start_ns: int = 0
    is_local: bool = False
    _has_start: bool = False

    def read(self, line: bytes) -> str:
        """Take in a line that begins with `;`: its kind. Raises `LineError` for what it cannot mean."""
        if keyword := _KEYWORD.match(line):
            name, value = keyword[1].upper(), line[keyword.end() :].partition(b";")[0].strip()
            if name == b"FILEVERSION":
                self._begin(value)
            elif name == b"STARTTIME":
                self._start_at(days_ns(value))
                self._has_start = True
            else:
                self._order(value)
            return HEADER
        if line.startswith(b";$"):
            return HEADER
        if comment := _START_COMMENT.match(line):
            self._read_comment(line[comment.end() :].strip(b"; \t\r"))
        return COMMENT

    def _read_comment(self, text: bytes) -> None:
        """A date with a zone says more than `$STARTTIME`, one without says the same or less."""
        try:
            start_ns, is_local = date_ns(text)
        except LineError:
            if not self._has_start:
                raise
            return
        if not self._has_start or not is_local:
            self._start_at(start_ns, is_local)

    def _begin(self, version: bytes) -> None:
        """Of this version, with nothing else known: a file may be several traces behind one another."""
        self.version, self.start_ns, self.is_local, self._has_start = version, 0, False, False
        self.columns = _BY_VERSION.get(version)
        if version in _TYPED_VERSIONS:
            self.reason = "no line ;$COLUMNS= before it says what stands where"
        elif self.columns is None:
            shown = version[:20].decode("ascii", "replace")
            self.reason = f"version {shown} of the TRC format: 1.0 to 1.3, 2.0 and 2.1 are read"
            raise LineError(self.reason)

    def _start_at(self, start_ns: int, is_local: bool = True) -> None:
        self.start_ns, self.is_local = start_ns, is_local

    def _order(self, letters: bytes) -> None:
        if self.version not in _TYPED_VERSIONS:
            return
        self.columns = columns_of(letters.decode("ascii", "replace"), is_typed=True)
        if self.columns is None:
            self.reason = "columns that are not those of the TRC format: O, T, I, l or L, and D at the end"
            raise LineError(self.reason)


def days_ns(text: bytes) -> int:
    """Nanoseconds UTC of decimal local days since 1899-12-30, to the nearest. Raises `LineError`."""
    match = _DAYS.fullmatch(text)
    if match is None or not _FIRST_DAY <= int(match[1]) <= _LAST_DAY:
        raise LineError(f"a start time that cannot be read; {_REMEDY}")
    day = _DAY_ZERO + timedelta(days=int(match[1]))
    fraction = match[2] or b"0"
    scale: int = 10 ** len(fraction)
    of_day = (int(fraction) * _SECONDS_PER_DAY * NS_PER_SECOND * 2 + scale) // (2 * scale)
    seconds, ns = divmod(of_day, NS_PER_SECOND)
    # Rounding up may make it midnight, which is the next day's.
    carried, seconds = divmod(seconds, _SECONDS_PER_DAY)
    day += timedelta(days=carried)
    clock = (seconds // 3600, seconds // 60 % 60, seconds % 60)
    return local_ns(day.year, day.month, day.day, *clock) + ns


def date_ns(text: bytes) -> tuple[int, bool]:
    """Nanoseconds UTC of a date, and whether it names no zone. Raises `LineError`, also for 4/5/2022."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise LineError(f"a start time that cannot be read; {_REMEDY}")
    first, separator, second, third, *clock, fraction, tenths, half, zone = match.groups()
    year, month, day = _year_month_day(first, separator, second, third)
    hour, minute, seconds = map(int, clock)
    if half is not None:
        hour = hour % 12 + (12 if half.upper() == b"P" else 0)
    ns = int(((fraction or b"") + (tenths or b"")).ljust(9, b"0")[:9])
    if zone is None:
        return local_ns(year, month, day, hour, minute, seconds) + ns, True
    ahead = 0 if zone in b"Zz" else int(zone[:3]) * 3600 + int(zone[:1] + zone[4:]) * 60
    return utc_ns(year, month, day, hour, minute, seconds) - ahead * NS_PER_SECOND + ns, False


def _year_month_day(first: bytes, separator: bytes, second: bytes, third: bytes) -> tuple[int, int, int]:
    one, two, three = int(first), int(second), int(third)
    if len(first) == 4:
        return one, two, three
    if len(third) != 4:
        raise LineError(f"a start time whose year has {len(third)} digits; {_REMEDY}")
    if separator == b"." or one > 12 or one == two:
        return three, two, one
    if two > 12:
        return three, one, two
    shown = f"{one}{separator.decode()}{two}"
    raise LineError(f"{shown} may be a day and a month or a month and a day; {_REMEDY}")
