"""BUSMASTER's text log: `TIME Rx|Tx CHANNEL ID TYPE LENGTH DATA`, between header lines in asterisks.

The header says whether numbers are `HEX` or `DEC` and what times are: `SYSTEM` (time of day), `ABSOLUTE`
(since the start) or `RELATIVE` (since the line before), to 100 microseconds; its date is day:month:year, in
local time, with milliseconds as a number of their own. Types: `s` or `x`, with `r` for a remote frame or
`-fd` for CAN FD; `ERR`. Public source: the log files and the sources of BUSMASTER (rbei-etas/busmaster).
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from can_stream.errors import LineError
from can_stream.frames.batches import CLASSIC_DATA_BYTES, FD_LENGTHS, FrameFlag
from can_stream.logs.local_dates import local_ns
from can_stream.logs.log_blocks import (
    HEADER,
    MAX_SECONDS,
    NS_PER_SECOND,
    LineParser,
    ParsedBlock,
    Row,
    check_identifier,
)

_NS_PER_MILLI: Final = 1_000_000
_NS_PER_MINUTE: Final = 60 * NS_PER_SECOND
_NS_PER_HOUR: Final = 60 * _NS_PER_MINUTE
_NS_PER_DAY: Final = 24 * _NS_PER_HOUR
_MOST_DAYS: Final = 36_500
_HIGHEST_CHANNEL: Final = 255
_HIGHEST_CODE: Final = 15
_START: Final = re.compile(
    rb"\*{3}START DATE AND TIME (\d{1,2}):(\d{1,2}):(\d{4}) (\d{1,2}):(\d{1,2}):(\d{1,2}):(\d{1,3})\*{3}"
)
_PROTOCOL: Final = re.compile(rb"\*{3}PROTOCOL (\S{1,20})\*{3}")
_MODES: Final = (b"SYSTEM", b"ABSOLUTE", b"RELATIVE")
_ROW: Final = re.compile(
    rb"(\d{1,4}):(\d\d):(\d\d):(\d{1,9})\s+([RT])?x\s+(\d{1,3})\s+(0[xX])?([0-9A-Fa-f]{1,10})\s+"
    rb"([sSxX](?:[rR]|-[fF][dD])?|ERR)\s+(\d{1,3})(?:\s+(.*))?",
    re.DOTALL,
)
_BYTE: Final = {16: re.compile(rb"[0-9A-Fa-f]{1,2}"), 10: re.compile(rb"\d{1,3}")}


class _Session(Struct):
    """What the header says, and how far its clock is. `start` None: no date is known."""

    base: int = 16
    mode: bytes = b"SYSTEM"
    protocol: str = "CAN"
    start: date | None = None
    start_ns: int = 0
    day: int = 0
    of_day_ns: int = 0
    elapsed_ns: int = 0
    hour: tuple[int, int] = (-1, -1)
    hour_ns: int = 0

    def read(self, line: bytes) -> str:
        """Take in a header line: its kind. Raises `LineError` for a date that cannot be read."""
        word = line.strip(b"*")
        if line.startswith(b"***START DATE AND TIME"):
            self._start(line)
        elif word in (b"HEX", b"DEC"):
            self.base = 16 if word == b"HEX" else 10
        elif word.endswith(b" MODE") and word[:-5] in _MODES:
            self.mode = word[:-5]
        elif protocol := _PROTOCOL.fullmatch(line):
            self.protocol = protocol[1].decode("ascii", "replace")
        return HEADER

    def _start(self, line: bytes) -> None:
        self.start, self.start_ns, self.day, self.of_day_ns, self.elapsed_ns = None, 0, 0, 0, 0
        self.hour = (-1, -1)
        match = _START.fullmatch(line)
        if match is None:
            raise LineError("a start date that cannot be read: times count from 0; --start-time gives one")
        day, month, year, hour, minute, second, milliseconds = map(int, match.groups())
        self.start_ns = local_ns(year, month, day, hour, minute, second) + milliseconds * _NS_PER_MILLI
        self.start = date(year, month, day)
        self.of_day_ns = (hour * 3600 + minute * 60 + second) * NS_PER_SECOND

    def time(self, of_line_ns: int) -> int:
        """Nanoseconds UTC of a line's time."""
        if self.mode == b"ABSOLUTE":
            return self.start_ns + of_line_ns
        if self.mode == b"RELATIVE":
            self.elapsed_ns += of_line_ns
            return self.start_ns + self.elapsed_ns
        if of_line_ns >= _NS_PER_DAY:
            raise LineError("not a time of day")
        # Midnight, or lines of two channels that came in the wrong order around it.
        fall = self.of_day_ns - of_line_ns
        self.day += (fall > _NS_PER_DAY // 2) - (-fall > _NS_PER_DAY - _NS_PER_MINUTE and self.day > 0)
        self.of_day_ns = of_line_ns
        return self._of_day(of_line_ns)

    def _of_day(self, of_day_ns: int) -> int:
        """Nanoseconds UTC of a time of day; each hour asks once what local time is there."""
        if self.day > _MOST_DAYS:
            raise LineError("timestamp out of range")
        if self.start is None:
            return self.day * _NS_PER_DAY + of_day_ns
        hour, rest = divmod(of_day_ns, _NS_PER_HOUR)
        if self.hour != (self.day, hour):
            on = self.start + timedelta(days=self.day)
            self.hour_ns = local_ns(on.year, on.month, on.day, hour)
            self.hour = (self.day, hour)
        return self.hour_ns + rest


class BusmasterParser(LineParser):
    """A `BlockParser` of BUSMASTER's logs. Channel 1 is `can0`."""

    def __init__(self) -> None:
        super().__init__(self._read_row)
        self._session = _Session()

    def parse(self, block: bytes) -> ParsedBlock:
        """The frames of a block of whole lines, in order."""
        parsed = super().parse(block)
        return replace(parsed, is_local=self._session.start is not None and len(parsed.batch.frames) > 0)

    def _read_row(self, line: bytes) -> Row | str:
        text = line.strip()
        if text.startswith(b"***"):
            _check_no_frame_in(text)
            return self._session.read(text)
        if self._session.protocol != "CAN":
            raise LineError(
                f"a line of a {self._session.protocol} log of BUSMASTER: only its CAN logs are read"
            )
        return _row(text, self._session)


def _row(text: bytes, session: _Session) -> Row:
    match = _ROW.fullmatch(text)
    if match is None:
        raise LineError("not a line of a BUSMASTER log")
    hours, minutes, seconds, fraction, direction, channel, is_hex, identifier, kind, size, rest = (
        match.groups()
    )
    if int(minutes) > 59 or int(seconds) > 59 or int(channel) > _HIGHEST_CHANNEL:
        raise LineError("not a time and a channel")
    flags = FrameFlag.TX if direction == b"T" else 0
    more, arbitration_id = _identifier(identifier, 16 if is_hex else session.base, kind.lower())
    length, data = _body(int(size), (rest or b"").split(), kind.lower(), session.base)
    elapsed = ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * NS_PER_SECOND
    # The clock last: a line that is refused must not move it.
    stamp = session.time(elapsed + int(fraction.ljust(9, b"0")))
    if stamp > MAX_SECONDS * NS_PER_SECOND:
        raise LineError("timestamp out of range")
    return stamp, f"can{max(int(channel), 1) - 1}", arbitration_id, flags | more, length, data


def _check_no_frame_in(text: bytes) -> None:
    """A recorder that was killed ends within a line; what another appends goes on in it."""
    if _ROW.search(text):
        raise LineError("two lines in one: a line end is missing")


def _identifier(text: bytes, base: int, kind: bytes) -> tuple[int, int]:
    """Flags by the type of the frame, and the arbitration id."""
    if base == 10 and not text.isdigit():
        raise LineError("not a decimal identifier")
    arbitration_id, extended = int(text, base), kind.startswith(b"x")
    if kind == b"err":
        check_identifier(arbitration_id, extended=True)
        return FrameFlag.ERROR, arbitration_id
    check_identifier(arbitration_id, extended=extended)
    flags = FrameFlag.EXTENDED if extended else 0
    flags |= FrameFlag.REMOTE if kind.endswith(b"r") else 0
    return flags | (FrameFlag.FD if kind.endswith(b"fd") else 0), arbitration_id


def _body(length: int, fields: list[bytes], kind: bytes, base: int) -> tuple[int, bytes]:
    """Length and data. Some versions wrote the bytes of the frame before behind a length of 0."""
    if kind == b"err":
        # Behind an error stands its name, or nothing, or what was left of another frame.
        _check_no_frame_in(b" ".join(fields))
        return 0, b""
    if kind.endswith(b"r"):
        if length > _HIGHEST_CODE:
            raise LineError(f"{length} is no length code")
        return length, b""
    if kind.endswith(b"fd"):
        if length not in FD_LENGTHS:
            raise LineError(f"{length} is no CAN FD length")
    elif length > CLASSIC_DATA_BYTES:
        raise LineError(f"{length} data bytes in a classic frame")
    if length and len(fields) != length:
        raise LineError(f"{len(fields)} data bytes, where the length says {length}")
    numbers = [_byte(text, base) for text in fields[:length]]
    return length, bytes(numbers)


def _byte(text: bytes, base: int) -> int:
    if _BYTE[base].fullmatch(text) is None or int(text, base) > 0xFF:
        raise LineError("not a data byte")
    return int(text, base)
