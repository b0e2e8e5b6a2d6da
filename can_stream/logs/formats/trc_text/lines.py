"""One line of a PEAK trace (TRC), in any of the versions 1.0 to 2.1, as a frame.

Public source: PEAK-System, "PEAK CAN TRC File Format". Versions 1.x say `Rx`, `Tx`, `Error`, `Warng` (1.0
nothing), versions 2.x a type of two letters and a direction. An identifier of up to 4 digits has 11 bits, a
longer one 29. An error frame's identifier is PEAK's code of what was wrong: 1 bit, 2 form, 4 stuff, 8 other.
"""

from __future__ import annotations

import re
from typing import Final

from can_stream.errors import LineError
from can_stream.frames.batches import CLASSIC_DATA_BYTES, FD_LENGTHS, FrameFlag
from can_stream.logs.formats.trc_text.header import TrcColumns, TrcHeader
from can_stream.logs.log_blocks import COMMENT, MAX_SECONDS, NS_PER_SECOND, Row, check_identifier

WARNING: Final = "bus warnings"
EVENT: Final = "events"
J1939: Final = "J1939 messages"
_OTHERS: Final = {b"ST": "hardware status changes", b"EC": "error counter changes", b"EV": EVENT}
# In the order of PEAK's description: BI has both.
FD_KINDS: Final = {
    b"FD": FrameFlag.FD,
    b"FB": FrameFlag.FD | FrameFlag.BRS,
    b"FE": FrameFlag.FD | FrameFlag.ESI,
    b"BI": FrameFlag.FD | FrameFlag.BRS | FrameFlag.ESI,
}
DIRECTIONS: Final = {b"rx": 0, b"tx": int(FrameFlag.TX)}

_STANDARD_DIGITS: Final = 4
_HIGHEST_BUS: Final = 255
_HIGHEST_CODE: Final = 15
_NUMBER: Final = re.compile(rb"\d{1,15}\)?")
_OFFSET: Final = re.compile(rb"(-?)(\d{1,15})(?:[.,](\d{1,9}))?")
_IDENTIFIER: Final = re.compile(rb"[0-9A-Fa-f]{1,8}")
_LENGTH: Final = re.compile(rb"\d{1,4}")
_BUS: Final = re.compile(rb"\d{1,3}")
_BYTE: Final = re.compile(rb"[0-9A-Fa-f]{1,2}")


def read_trc_line(line: bytes, header: TrcHeader) -> Row | str:
    """The frame of a line that is not blank, or what a line of another kind is. Raises `LineError`."""
    if line.startswith(b";"):
        return header.read(line)
    fields = line.split()
    if fields[0].startswith(b";"):
        return COMMENT
    columns = header.columns
    if columns is None:
        raise LineError(header.reason)
    if len(fields) <= max(columns.number or 0, columns.time, columns.kind or 0):
        raise LineError("too few columns")
    if columns.number is not None and _NUMBER.fullmatch(fields[columns.number]) is None:
        raise LineError("not a line of a TRC trace")
    stamp = header.start_ns + _offset_ns(fields[columns.time])
    if abs(stamp) > MAX_SECONDS * NS_PER_SECOND:
        raise LineError("timestamp out of range")
    read = (_typed if columns.is_typed else _plain)(fields, columns)
    return read if isinstance(read, str) else (stamp, _channel(fields, columns), *read)


def _offset_ns(text: bytes) -> int:
    """Nanoseconds of decimal milliseconds."""
    match = _OFFSET.fullmatch(text)
    if match is None:
        raise LineError("not a time offset in milliseconds")
    ns = int(match[2]) * 1_000_000 + int((match[3] or b"").ljust(6, b"0")[:6])
    return -ns if match[1] else ns


def _channel(fields: list[bytes], columns: TrcColumns) -> str:
    """PEAK counts buses from 1."""
    if columns.bus is None or fields[columns.bus : columns.bus + 1] == [b"-"]:
        return "can0"
    if len(fields) <= columns.bus:
        raise LineError("too few columns")
    text = fields[columns.bus]
    if _BUS.fullmatch(text) is None or int(text) > _HIGHEST_BUS:
        raise LineError("not a bus number")
    return f"can{max(int(text), 1) - 1}"


def _plain(fields: list[bytes], columns: TrcColumns) -> tuple[int, int, int, bytes] | str:
    """Identifier, flags, length and data of a line of versions 1.x."""
    kind = b"rx" if columns.kind is None else fields[columns.kind].lower()
    if kind == b"event":
        return EVENT
    if len(fields) < columns.data:
        raise LineError("too few columns")
    identifier, rest = fields[columns.identifier], fields[columns.data :]
    if kind == b"warng" or (columns.kind is None and identifier == b"FFFFFFFF"):
        return WARNING
    if columns.kind is None and rest[:1] == [b"ERROR"]:
        kind, rest = b"error", rest[1:]
    length = _length(fields[columns.length])
    if kind == b"error":
        return _error_frame(identifier, 0, _data(rest, _up_to_8(length)))
    flags = _direction(kind)
    if rest[:1] == [b"RTR"]:
        return _remote_frame(identifier, flags, length, rest[1:])
    return _data_frame(identifier, flags, length, rest, columns)


def _typed(fields: list[bytes], columns: TrcColumns) -> tuple[int, int, int, bytes] | str:
    """Identifier, flags, length and data of a line of versions 2.x."""
    kind = fields[columns.kind or 0].upper()
    if kind in _OTHERS:
        return _OTHERS[kind]
    if kind == b"ER":
        place = (columns.kind or 0) + 1
        return _typed_error(fields[place + (columns.bus == place) :])
    if kind not in FD_KINDS and kind not in (b"DT", b"RR"):
        raise LineError("not a message type of the TRC format")
    if len(fields) < columns.data:
        raise LineError("too few columns")
    identifier, rest = fields[columns.identifier], fields[columns.data :]
    flags = 0 if columns.direction is None else _direction(fields[columns.direction].lower())
    length = _length(fields[columns.length])
    if kind == b"RR":
        return _remote_frame(identifier, flags, length, rest)
    if kind == b"DT":
        return _data_frame(identifier, flags, length, rest, columns)
    if columns.is_code and length <= _HIGHEST_CODE:
        length = FD_LENGTHS[length]
    if length not in FD_LENGTHS:
        raise LineError(f"{length} is no CAN FD length")
    arbitration_id, extended = _identifier(identifier)
    return arbitration_id, flags | extended | FD_KINDS[kind], length, _data(rest, length)


def _typed_error(fields: list[bytes]) -> tuple[int, int, int, bytes]:
    """An error frame of version 2.x, where columns that say nothing are blank or a dash."""
    flags = int(FrameFlag.TX) if any(field.lower() == b"tx" for field in fields) else 0
    rest = [field for field in fields if field != b"-" and field.lower() not in DIRECTIONS]
    identifier = rest.pop(0) if rest and len(rest[0]) > 2 else None
    if rest and len(rest[0]) == 1:
        _data(rest[1:], _length(rest[0]))
        rest = rest[1:]
    if identifier is None:
        identifier = rest.pop(0) if rest else b"0"
    return _error_frame(identifier, flags, _data(rest, _up_to_8(len(rest))))


def _error_frame(identifier: bytes, flags: int, data: bytes) -> tuple[int, int, int, bytes]:
    arbitration_id, _ = _identifier(identifier)
    return arbitration_id, FrameFlag.ERROR | flags, len(data), data


def _remote_frame(
    identifier: bytes, flags: int, length: int, rest: list[bytes]
) -> tuple[int, int, int, bytes]:
    arbitration_id, extended = _identifier(identifier)
    if rest:
        raise LineError("data in a remote frame")
    if length > _HIGHEST_CODE:
        raise LineError(f"{length} is no length code")
    return arbitration_id, flags | extended | FrameFlag.REMOTE, length, b""


def _data_frame(
    identifier: bytes, flags: int, length: int, rest: list[bytes], columns: TrcColumns
) -> tuple[int, int, int, bytes] | str:
    """A classic data frame, or a J1939 message that an interface put together of several."""
    arbitration_id, extended = _identifier(identifier)
    if length <= CLASSIC_DATA_BYTES:
        return arbitration_id, flags | extended, length, _data(rest, length)
    if columns.is_code and length <= _HIGHEST_CODE and len(rest) == CLASSIC_DATA_BYTES:
        return arbitration_id, flags | extended, length, _data(rest, CLASSIC_DATA_BYTES)
    data = _data(rest, length)
    if columns.has_messages and extended:
        return J1939
    raise LineError(f"{len(data)} data bytes in a classic frame")


def _identifier(text: bytes) -> tuple[int, int]:
    """The number and its flag."""
    if _IDENTIFIER.fullmatch(text) is None:
        raise LineError("not an identifier")
    number, extended = int(text, 16), len(text) > _STANDARD_DIGITS
    check_identifier(number, extended=extended)
    return number, FrameFlag.EXTENDED if extended else 0


def _direction(text: bytes) -> int:
    flag = DIRECTIONS.get(text)
    if flag is None:
        raise LineError("neither Rx nor Tx")
    return flag


def _length(text: bytes) -> int:
    if _LENGTH.fullmatch(text) is None:
        raise LineError("not a data length")
    return int(text)


def _up_to_8(length: int) -> int:
    if length > CLASSIC_DATA_BYTES:
        raise LineError(f"{length} data bytes in an error frame")
    return length


def _data(fields: list[bytes], length: int) -> bytes:
    if len(fields) < length:
        raise LineError(f"{len(fields)} data bytes, where the length says {length}")
    if len(fields) > length:
        raise LineError(f"more than the {length} data bytes that the length says")
    for field in fields:
        if _BYTE.fullmatch(field) is None:
            raise LineError("not a data byte")
    return bytes(int(field, 16) for field in fields)
