"""One line of a Vector ASC log, of any version of CANoe, CANalyzer or a tool that writes alike, as a frame.

`<seconds> <channel> <id>[x] Rx|Tx d|r <dlc> <bytes>`, and since CAN FD `<seconds> CANFD <channel> Rx|Tx
<id>[x] [name] <brs> <esi> <dlc> <length> <bytes> <duration> <bits> <flags> ...`, whose flags say what kind of
frame it was. Public sources: Vector's "CAN, Log & Trigger ASC Logging Format", and can-utils' asc2log for
what it leaves open: lines that begin with CANFD are hexadecimal under any base.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeVar

from msgspec import Struct

from can_stream.errors import LineError
from can_stream.frames.batches import CLASSIC_DATA_BYTES, FD_LENGTHS, FrameFlag
from can_stream.logs.formats.asc_text.events import (
    check_no_frame_behind,
    kind_of_channel_event,
    kind_of_event,
)
from can_stream.logs.formats.asc_text.header import AscHeader
from can_stream.logs.log_blocks import BLANK, Row, check_identifier, timestamp_ns
from can_stream.text.text_columns import Mask

TRANSMIT_REQUEST: Final = "transmit requests"
EDL: Final = 0x1000
BRS: Final = 0x2000
ESI: Final = 0x4000
RTR: Final = 0x0010
HIGHEST_CHANNEL: Final = 255
# The first of seven hexadecimal digits of which the first is a letter.
LONG_NUMBER: Final = 0xA00_0000


def _hex_forms(number: int) -> tuple[str, ...]:
    """One or two digits of any case."""
    digits = f"{number:02x}"
    pairs = (digits, digits.upper(), digits[0].upper() + digits[1], digits[0] + digits[1].upper())
    return pairs if number > 15 else (*pairs, digits[1], digits[1].upper())


# Plain integers: every operation of a flag makes an object.
_EXTENDED, _REMOTE, _ERROR_FRAME, _FD, _BRS, _ESI, _TX = (
    int(flag)
    for flag in (
        FrameFlag.EXTENDED,
        FrameFlag.REMOTE,
        FrameFlag.ERROR,
        FrameFlag.FD,
        FrameFlag.BRS,
        FrameFlag.ESI,
        FrameFlag.TX,
    )
)
_CHANNEL_NAMES: Final = {b"%d" % number: f"can{max(number, 1) - 1}" for number in range(HIGHEST_CHANNEL + 1)}
_DIRECTIONS: Final = {b"rx": 0, b"tx": _TX}
_REQUEST: Final = b"txrq"
_ERROR: Final = b"errorframe"
_STAMP: Final = re.compile(rb"(-?\d+)(?:[.,](\d+))?")
_CHANNEL: Final = re.compile(rb"\d{1,3}|(?:0[xX])?[0-9A-Fa-f]{1,2}")
_IDENTIFIER: Final = {
    16: re.compile(rb"(?:0[xX](?=.))?([0-9A-Fa-f]{1,8})([xX]?)"),
    10: re.compile(rb"(\d{1,10})([xX]?)"),
}
# All ways to write a byte: one digit or two of any case, one to three decimal ones.
_BYTES: Final = {
    16: {text.encode(): int(text, 16) for number in range(256) for text in _hex_forms(number)},
    10: {form % number: number for number in range(256) for form in (b"%d", b"%02d", b"%03d")},
}
# One digit of any case, a 0 before it or not; and two digits under `base dec`.
_CODES: Final = {
    text.encode(): code
    for code in range(16)
    for text in (f"{code:x}", f"{code:X}", f"0{code:x}", f"0{code:X}")
}
_DECIMAL_CODES: Final = {b"%d" % code: code for code in range(10, 16)}
_FD_LENGTH: Final = re.compile(rb"\d{1,2}")
_FLAGS: Final = re.compile(rb"[0-9A-Fa-f]{1,8}")
FLAGS_COLUMN: Final = 2

_Body = tuple[int, int, bytes]
# Of one line or of many.
_Truth = TypeVar("_Truth", bool, Mask)


class FdColumns(Struct, frozen=True):
    """What a CANFD line says of its frame. `flags`: None where the line ends before them."""

    brs: bool
    esi: bool
    code: int
    length: int
    flags: int | None


class AscReader:
    """Reads the lines of one log, in order: what stands in its header changes how the others are read."""

    def __init__(self) -> None:
        self.header: Final = AscHeader()

    def read_line(self, line: bytes) -> Row | str:
        """The frame of a line, or the kind of a line that is none. Raises `LineError`."""
        words = line.split()
        if not words:
            return BLANK
        stamp = _STAMP.fullmatch(words[0])
        if stamp is None:
            kind = self.header.read_line(line.strip(), words)
            check_no_frame_behind(words)
            return kind
        # The clock first: relative times count lines that are no frames, and those that cannot be read.
        now = self.header.clock.read(timestamp_ns(stamp[1], stamp[2] or b""))
        read = self._read_event(now, words[1:])
        if isinstance(read, str) or read[3] & _ERROR_FRAME:
            check_no_frame_behind(words[1:])
        return read

    def _read_event(self, now: int, words: list[bytes]) -> Row | str:
        if not words:
            raise LineError("nothing behind the time")
        if words[0].upper() == b"CANFD":
            if len(words) > 1 and _CHANNEL.fullmatch(words[1]):
                return _read_fd_event(now, words[1:])
            return kind_of_event(words[1:])
        if _is_channel(words):
            return _read_classic_event(now, words, self.header.base)
        return kind_of_event(words)


def is_asc_frame(line: bytes) -> bool:
    """Whether the line is a frame as Vector's tools write them, with a time before it."""
    words = line.split()
    stamp = _STAMP.fullmatch(words[0]) if words else None
    if stamp is None or stamp[2] is None:
        return False
    try:
        return not isinstance(AscReader().read_line(line), str)
    except LineError:
        return False


def _is_channel(words: Sequence[bytes]) -> bool:
    """Whether a channel is the first word: a number, or one with letters where the rest is a frame's."""
    if words[0].isdigit():
        return True
    if _CHANNEL.fullmatch(words[0]) is None or len(words) < 2:
        return False
    direction = words[2].lower() if len(words) > 2 else b""
    return direction in _DIRECTIONS or direction == _REQUEST or words[1].lower().startswith(_ERROR)


def _channel_name(text: bytes) -> str:
    """The first channel is 1, and `can0`; so is the 0 of tools that begin there."""
    name = _CHANNEL_NAMES.get(text)
    if name is not None:
        return name
    number = int(text) if text.isdigit() else int(text, 16)
    if number > HIGHEST_CHANNEL:
        raise LineError("not a channel number")
    return f"can{max(number, 1) - 1}"


def may_be_name(begins_with_letter: _Truth, is_long: _Truth, extended: _Truth) -> _Truth:
    """Whether a hexadecimal number may be a symbolic name that looks like one: `BE`, `EEC1`, `DEADBEEF`.

    A name begins with a letter. One that `is_long` (from `LONG_NUMBER` on) with the x of an extended
    identifier behind it is none: identifiers of J1939 are written so (`CF00400x`), and no name is.
    """
    return begins_with_letter > (is_long & extended)


def _identifier(text: bytes, base: int, words: Sequence[bytes] = ()) -> tuple[int, int]:
    """Identifier and its flag. For a name that of `ID = ` among `words`, in which newer versions add it."""
    match = _IDENTIFIER[base].fullmatch(text)
    if match is None or may_be_name(text[:1].isalpha(), int(match[1], base) >= LONG_NUMBER, bool(match[2])):
        added = _added_identifier(words)
        match, base = (match, base) if added is None else (added, 10)
    if match is None:
        raise LineError("a symbolic name instead of the identifier: log with numeric identifiers")
    arbitration_id, extended = int(match[1], base), bool(match[2])
    check_identifier(arbitration_id, extended=extended)
    return arbitration_id, _EXTENDED if extended else 0


def _added_identifier(words: Sequence[bytes]) -> re.Match[bytes] | None:
    for place, word in enumerate(words[:-2]):
        if word == b"ID" and words[place + 1] == b"=":
            return _IDENTIFIER[10].fullmatch(words[place + 2])
    return None


def _check_one_line(words: Sequence[bytes]) -> None:
    """A recorder that was killed ends within a line; what another appends goes on in it."""
    if any(word.lower() in _DIRECTIONS for word in words):
        raise LineError("two lines in one: a line end is missing")


def _error_frame(now: int, channel: bytes, direction: int) -> Row:
    return now, _channel_name(channel), 0, _ERROR_FRAME | direction, 0, b""


def _length_code(text: bytes, base: int) -> int:
    code = _CODES.get(text, -1)
    if code < 0 and base == 10:
        code = _DECIMAL_CODES.get(text, -1)
    if code < 0:
        raise LineError("not a length code of 0 to F")
    return code


def _bytes_of(words: Sequence[bytes], count: int, base: int) -> bytes:
    """The first `count` words as bytes."""
    values, words = _BYTES[base], words[:count]
    if len(words) == count:
        try:
            return bytes(map(values.__getitem__, words))
        except KeyError:
            pass
    raise LineError(f"{sum(word in values for word in words)} of {count} data bytes can be read")


def _read_classic_event(now: int, words: list[bytes], base: int) -> Row | str:
    """A line behind whose time a channel stands."""
    if len(words) > 1 and words[1].lower().startswith(_ERROR):
        return _error_frame(now, words[0], 0)
    direction = words[2].lower() if len(words) > 2 else b""
    if direction == _REQUEST:
        return TRANSMIT_REQUEST
    if direction not in _DIRECTIONS:
        return kind_of_channel_event(words[1:])
    arbitration_id, flags = _identifier(words[1], base, words[4:])
    more, length, data = _classic_body(words[3:], base)
    _check_one_line(words[4:])
    name = _channel_name(words[0])
    return now, name, arbitration_id, flags | _DIRECTIONS[direction] | more, length, data


def _classic_body(words: list[bytes], base: int) -> _Body:
    """Flags, length and data of `d 2 01 02`, `r`, `r 2`."""
    kind = words[0].lower() if words else b""
    if kind == b"r":
        return _REMOTE, _remote_length(words[1:], base), b""
    if kind != b"d" or len(words) < 2:
        raise LineError("neither d (data) with a length nor r (remote)")
    code = _length_code(words[1], base)
    size = min(code, CLASSIC_DATA_BYTES)
    data = _bytes_of(words[2:], size, base)
    # A code over 8 means 8 bytes; some tools write as many as it says.
    if len(words) > 2 + code and all(word in _BYTES[base] for word in words[2 + size : 3 + code]):
        raise LineError(f"more than {code} data bytes")
    return 0, code, data


def _remote_length(words: list[bytes], base: int) -> int:
    """Older tools write no length; newer ones more words behind it, like `Length = 0`."""
    if not words or (len(words[0]) > 1 and words[0].isalpha()):
        return 0
    return _length_code(words[0], base)


def _read_fd_event(now: int, words: list[bytes]) -> Row | str:
    """A line behind whose time stand `CANFD` and a channel: CAN FD, and classic frames of such a channel."""
    direction = words[1].lower() if len(words) > 1 else b""
    if direction.startswith(_ERROR):
        return _error_frame(now, words[0], 0)
    if direction == _REQUEST:
        return TRANSMIT_REQUEST
    if direction not in _DIRECTIONS or len(words) < 3:
        return kind_of_channel_event(words[1:])
    sent = _DIRECTIONS[direction]
    if words[2].lower().startswith(_ERROR):
        return _error_frame(now, words[0], sent)
    arbitration_id, flags = _identifier(words[2], 16)
    columns, data = _fd_columns(words[3:])
    more, length = frame_of(columns)
    name = _channel_name(words[0])
    return now, name, arbitration_id, flags | sent | more, length, data


def _fd_columns(words: list[bytes]) -> tuple[FdColumns, bytes]:
    """What follows the identifier; a name may come first."""
    for begin in (0, 1):
        brs, esi, code_text, length_text = (words[begin : begin + 4] + [b""] * 4)[:4]
        if not ({brs, esi} <= {b"0", b"1"} and _FD_LENGTH.fullmatch(length_text)):
            continue
        code, length = _fd_length(code_text, int(length_text), code_text == length_text)
        if code < 0:
            continue
        rest = words[begin + 4 :]
        data = _bytes_of(rest, length, 16)
        tail = rest[length:]
        _check_one_line(tail)
        flags = _FLAGS.fullmatch(tail[FLAGS_COLUMN]) if len(tail) > FLAGS_COLUMN else None
        said = int(flags[0], 16) if flags else None
        return FdColumns(brs == b"1", esi == b"1", code, length, said), data
    raise LineError("not the BRS, ESI, length code and length of a CANFD line, or they contradict each other")


def _fd_length(code_text: bytes, length: int, is_same: bool) -> tuple[int, int]:
    """Length code and length, the code -1 where they do not go together.

    0 bytes go with any code, in a remote frame; 8 with those above, in a classic one. Some tools write the
    length twice.
    """
    if is_same and length in FD_LENGTHS:
        return FD_LENGTHS.index(length), length
    code = _CODES.get(code_text, -1)
    return (
        code if code >= 0 and length in (0, FD_LENGTHS[code], min(code, CLASSIC_DATA_BYTES)) else -1
    ), length


def frame_of(columns: FdColumns) -> tuple[int, int]:
    """Flags and length of the frame of a CANFD line. The flags column decides, where it is there."""
    said, length = columns.flags, columns.length
    is_fd = said is None or bool(said & EDL)
    if said is not None and not is_fd:
        if said & RTR:
            if length:
                raise LineError("a remote frame with data")
            return _REMOTE, columns.code
        # More than a classic frame can have: then it is a tool that does not fill the flags in.
        if not (columns.brs or columns.esi or length > CLASSIC_DATA_BYTES):
            if length != min(columns.code, CLASSIC_DATA_BYTES):
                raise LineError(f"{length} data bytes with length code {columns.code:X}")
            return 0, columns.code
    if length != FD_LENGTHS[columns.code]:
        raise LineError(f"{length} of {FD_LENGTHS[columns.code]} data bytes")
    brs, esi = (said & BRS, said & ESI) if said is not None and is_fd else (columns.brs, columns.esi)
    return _FD | (_BRS if brs else 0) | (_ESI if esi else 0), length
