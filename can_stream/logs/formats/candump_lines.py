"""One line of candump output, in any dialect, as a frame.

The log dialect (`-l`, `-L`) is what `candump` and `canplayer` of can-utils print and read; the human ones
are its other views (`-t a|A|d|z`, `-x`, `-a`, `-i`, `-S`, `-8`, `-e`, `-c`) and that of its predecessor, with
`<0x123>` identifiers. Public source: candump.c and lib.h of linux-can/can-utils; flag bits: linux/can.h.
"""

from __future__ import annotations

import itertools
import re
from typing import Final

from msgspec import Struct

from can_stream.errors import LineError
from can_stream.frames.batches import CLASSIC_DATA_BYTES, FD_LENGTHS, FrameFlag
from can_stream.logs.local_dates import local_ns
from can_stream.logs.log_blocks import (
    FLAG_OF_DIRECTION,
    NS_PER_SECOND,
    Row,
    channel_name,
    check_identifier,
    timestamp_ns,
)

EXPLANATION: Final = "explanations of error frames"
CAN_ERR_FLAG: Final = 0x2000_0000
CANFD_BRS: Final = 1
CANFD_ESI: Final = 2

_LOG: Final = re.compile(
    rb"\s*\((-?\d{1,10})(?:\.(\d{1,9}))?\)\s+(\S+)\s+([0-9A-Fa-f]{3}|[0-9A-Fa-f]{8})#(\S*)(?:\s+([RT]))?\s*"
)
_DATA: Final = re.compile(rb"(?:\.?[0-9A-Fa-f]{2})*")
_REMOTE: Final = re.compile(rb"[Rr](?:([0-7])|8(?:_([9A-Fa-f]))?)?")
_FD: Final = re.compile(rb"#([0-9A-Fa-f])((?:\.?[0-9A-Fa-f]{2})*)")

_HUMAN: Final = re.compile(
    rb"\s*(?:\((?P<time>[^()]*)\)\s+)?"
    rb"(?:(?P<channel>\S+)\s+)??"
    rb"(?:(?P<direction>[RT])X (?P<brs>[B-]) (?P<esi>[E-])\s+)?"
    rb"(?:<0x(?P<old>[0-9A-Fa-f]{1,8})>|(?P<id>[0-9A-Fa-f]{3}|[0-9A-Fa-f]{8}))\s+"
    rb"(?:\[(?P<length>\d{1,2})\]|\{(?P<dlc>[0-9A-F])\})(?P<rest>.*)",
    re.DOTALL,
)
_TIME: Final = re.compile(rb"(?:(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)|(-?\d{1,10}))(?:\.(\d{1,9}))?")
_BYTES: Final = re.compile(rb"\s*([0-9A-Fa-f]{2}(?:[ `][0-9A-Fa-f]{2})*)?")
_BITS: Final = re.compile(rb"\s*([01]{8}(?:[ `][01]{8})*)")
_TRAILER: Final = re.compile(rb"\s*(?:ERRORFRAME|(?P<quote>['`])(?P<ascii>.*)(?P=quote))?\s*", re.DOTALL)
# What `-e` explains below an error frame.
_EXPLANATION: Final = re.compile(rb"\t[a-z][a-z-]*(?:\{.*\})?\s*")
_COLOUR: Final = re.compile(rb"\x1b\[[0-9;]*m")


class HumanClock(Struct):
    """The time of human-readable lines. With `deltas` (`-t d`) each is relative to the one before.

    `is_local`: a date has been read, which candump prints (`-t A`) in local time and without a zone: the zone
    is that of the computer that reads it.
    """

    deltas: bool = False
    now_ns: int = 0
    is_local: bool = False
    _date: bytes = b""
    _of_date_ns: int = 0

    def read(self, text: bytes | None) -> int:
        """Nanoseconds of a time stamp; a line without one has that of the line before."""
        if text is not None:
            match = _TIME.fullmatch(text)
            if match is None:
                raise LineError("not a candump time stamp")
            date, seconds, fraction = match.groups()
            stamp = timestamp_ns(seconds or b"0", fraction or b"") + (self._date_ns(date) if date else 0)
            self.now_ns = self.now_ns + stamp if self.deltas and not date else stamp
            if abs(self.now_ns) >= 2**63 - NS_PER_SECOND:
                self.now_ns = 0
                raise LineError("sum of the time differences out of range")
        return self.now_ns

    def _date_ns(self, date: bytes) -> int:
        if date != self._date:  # a second has many lines
            year, month, day, hour, minute, second = map(int, re.findall(rb"\d+", date))
            self._of_date_ns = local_ns(year, month, day, hour, minute, second)
            self._date, self.is_local = date, True
        return self._of_date_ns


def read_candump_line(line: bytes, clock: HumanClock) -> Row | str:
    """The frame of a line, or what a line that explains another is. Raises `LineError`."""
    if b"\x1b" in line:
        line = _COLOUR.sub(b"", line)
    match = _LOG.fullmatch(line)
    if match is not None:
        return _log_row(match)
    match = _HUMAN.fullmatch(line)
    if match is not None:
        return _human_row(match, clock)
    if _EXPLANATION.fullmatch(line):
        return EXPLANATION
    if line.startswith(b"DROPCOUNT"):
        raise LineError("candump lost frames here")
    raise LineError("not a candump line")


def _identifier(text: bytes, *, extended: bool) -> tuple[int, int]:
    """Arbitration id and its flags: eight digits with CAN_ERR_FLAG are an error frame's class."""
    number = int(text, 16)
    if extended and number & ~0x1FFF_FFFF == CAN_ERR_FLAG:
        return number & 0x1FFF_FFFF, FrameFlag.ERROR
    check_identifier(number, extended=extended)
    return number, FrameFlag.EXTENDED if extended else 0


def _log_row(match: re.Match[bytes]) -> Row:
    seconds, fraction, channel, identifier, body, direction = match.groups()
    arbitration_id, flags = _identifier(identifier, extended=len(identifier) == 8)
    flags |= FLAG_OF_DIRECTION.get(direction, 0)
    more, length, data = _log_body(body)
    return (
        timestamp_ns(seconds, fraction or b""),
        channel_name(channel),
        arbitration_id,
        flags | more,
        length,
        data,
    )


def _log_body(body: bytes) -> tuple[int, int, bytes]:
    """Flags, length and data of what follows `ID#`."""
    if match := _FD.fullmatch(body):
        nibble, digits = int(match[1], 16), match[2]
        flags = FrameFlag.FD | _fd_flags(bool(nibble & CANFD_BRS), bool(nibble & CANFD_ESI))
        data = _unhex(digits)
        return flags, _fd_length(len(data)), data
    if match := _REMOTE.fullmatch(body):
        length = int(match[2] or match[1] or (b"8" if len(body) > 1 else b"0"), 16)
        return FrameFlag.REMOTE, length, b""
    digits, mark, raw_dlc = body.partition(b"_")
    if _DATA.fullmatch(digits) is None:
        raise LineError("CAN XL frame" if b":" in body else "not frame data")
    data = _unhex(digits)
    if len(data) > CLASSIC_DATA_BYTES:
        raise LineError(f"{len(data)} data bytes in a classic frame")
    return 0, _raw_dlc(raw_dlc, len(data)) if mark else len(data), data


def _unhex(digits: bytes) -> bytes:
    return bytes.fromhex(digits.replace(b".", b"").decode("ascii"))


def _raw_dlc(text: bytes, length: int) -> int:
    if length != CLASSIC_DATA_BYTES or text not in b"9ABCDEFabcdef" or len(text) != 1:
        raise LineError("not a raw length code")
    return int(text, 16)


def _fd_flags(brs: bool, esi: bool) -> int:
    return (FrameFlag.BRS if brs else 0) | (FrameFlag.ESI if esi else 0)


def _fd_length(length: int) -> int:
    if length not in FD_LENGTHS:
        raise LineError(f"{length} is no CAN FD length")
    return length


def _human_row(match: re.Match[bytes], clock: HumanClock) -> Row:
    old, channel = match["old"], match["channel"]
    if channel is None and old is None:
        raise LineError("no channel name")
    text = old or match["id"]
    extended = len(text) == 8 or (old is not None and int(text, 16) > 0x7FF)
    arbitration_id, flags = _identifier(text, extended=extended)
    flags |= FLAG_OF_DIRECTION.get(match["direction"], 0)
    more, length, data = _human_body(match)
    # The clock last: a line that is refused must not move it.
    name = channel_name(channel) if channel is not None else "can0"
    return clock.read(match["time"]), name, arbitration_id, flags | more, length, data


def _human_body(match: re.Match[bytes]) -> tuple[int, int, bytes]:
    """Flags, length and data of what follows the identifier."""
    digits, rest = match["length"], match["rest"]
    is_fd = digits is not None and len(digits) == 2
    length = int(digits) if digits is not None else int(match["dlc"], 16)
    present = length if is_fd else min(length, CLASSIC_DATA_BYTES)
    if digits is not None and length != present:
        raise LineError(f"{length} data bytes in a classic frame")
    if not is_fd and rest.strip() == b"remote request":
        return FrameFlag.REMOTE, length, b""
    data = _human_data(rest, present)
    if not is_fd:
        return 0, length, data
    return FrameFlag.FD | _fd_flags(match["brs"] == b"B", match["esi"] == b"E"), _fd_length(length), data


def _human_data(rest: bytes, length: int) -> bytes:
    """`length` bytes in hexadecimal or binary, in swapped order where backticks divide them (`-S`)."""
    bits = _BITS.match(rest)
    found = bits or _BYTES.match(rest)
    width = 9 if bits else 3
    text = (found[1] or b"")[: max(width * length - 1, 0)] if found else b""
    tail = rest[found.start(1) + len(text) :] if found and text else rest
    parts = re.split(rb"[ `]", text) if text else []
    if len(parts) != length or _TRAILER.fullmatch(tail) is None:
        raise LineError(f"not {length} data bytes")
    data = bytes(int(part, 2 if bits else 16) for part in parts)
    return data[::-1] if b"`" in text else data


def human_times(head: list[bytes]) -> list[int] | None:
    """The time stamps of the human-readable lines in `head`, None where a line has none or there are none."""
    clock = HumanClock()
    times: list[int] = []
    for line in head:
        match = _HUMAN.fullmatch(_COLOUR.sub(b"", line))
        if match is None:
            continue
        if match["time"] is None:
            return None
        try:
            times.append(clock.read(match["time"]))
        except LineError:
            continue
    return times or None


def are_deltas(times: list[int]) -> bool:
    """Whether time stamps of human-readable lines are differences (`-t d`), not offsets (`-t z`).

    Both begin with zero. Offsets hardly ever fall; differences of bus traffic fall every few frames, or are
    all the same: no three frames of a bus have one time.
    """
    if len(times) > 3 and times[0] == 0 < times[1] and len(set(times[1:])) == 1:
        return True
    falls = sum(after < before for before, after in itertools.pairwise(times))
    return len(times) > 2 and times[0] == 0 and falls * 10 > len(times)
