"""The CSV that python-can writes: `timestamp,arbitration_id,extended,remote,error,dlc,data`.

Seconds, a hexadecimal id, 0 or 1 three times, a length and the data in base64; it has no channel (all is
`can0`), no direction and no mark of CAN FD. Public source: python-can's documentation, "CSVWriter".
"""

from __future__ import annotations

import re
from base64 import b64decode
from decimal import Decimal
from typing import Final

from can_stream.errors import LineError
from can_stream.frames.batches import (
    CLASSIC_DATA_BYTES,
    EXTENDED_ID_MASK,
    FD_LENGTHS,
    STANDARD_ID_MASK,
    FrameFlag,
)
from can_stream.logs.formats.beginnings import CSV_HEADER
from can_stream.logs.log_blocks import (
    HEADER,
    MAX_SECONDS,
    NS_PER_SECOND,
    Row,
    check_identifier,
    check_not_shortened,
)

_COLUMNS: Final = 7
_CHANNEL: Final = "can0"
_HIGHEST_CODE: Final = 15
# Python writes floats below 0.0001 with an exponent.
_SECONDS: Final = re.compile(rb"-?\d{1,20}(?:\.\d{1,20})?(?:[eE]-\d{1,2})?")
_IDENTIFIER: Final = re.compile(rb"(?:0[xX])?([0-9A-Fa-f]{1,8})")
_LENGTH: Final = re.compile(rb"\d{1,3}")
_TRUTHS: Final = {b"0": False, b"1": True}


def read_csv_row(line: bytes) -> Row | str:
    """The frame of a row, or what the header is. Raises `LineError`."""
    text = line.strip()
    if text.startswith(CSV_HEADER):
        return HEADER
    fields = text.split(b",")
    if len(fields) != _COLUMNS:
        raise LineError(f"{len(fields)} columns, not the {_COLUMNS} of python-can's CSV")
    seconds, identifier, *truths, length, data = fields
    extended, is_remote, is_error = map(_truth, truths)
    stamp, arbitration_id = _seconds_ns(seconds), _identifier(identifier)
    more, size, payload = _body(_length(length), _data(data), is_remote=is_remote, is_error=is_error)
    if is_error:
        return stamp, _CHANNEL, arbitration_id & EXTENDED_ID_MASK, more, size, payload
    # Some programs do not set the extended bit: more than 11 bits can only be extended.
    extended |= arbitration_id > STANDARD_ID_MASK
    check_identifier(arbitration_id, extended=extended)
    return stamp, _CHANNEL, arbitration_id, more | (FrameFlag.EXTENDED if extended else 0), size, payload


def _seconds_ns(text: bytes) -> int:
    """Nanoseconds of decimal seconds, to the nearest."""
    check_not_shortened(text)
    if _SECONDS.fullmatch(text) is None:
        raise LineError("not a time in seconds")
    seconds = Decimal(text.decode("ascii"))
    if abs(seconds) > MAX_SECONDS:
        raise LineError("timestamp out of range")
    return round(seconds * NS_PER_SECOND)


def _identifier(text: bytes) -> int:
    match = _IDENTIFIER.fullmatch(text)
    if match is None:
        raise LineError("not an identifier")
    return int(match[1], 16)


def _truth(text: bytes) -> bool:
    value = _TRUTHS.get(text)
    if value is None:
        raise LineError("neither 0 nor 1")
    return value


def _length(text: bytes) -> int:
    if _LENGTH.fullmatch(text) is None:
        raise LineError("not a length")
    return int(text)


def _data(text: bytes) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise LineError("data that is no base64") from error


def _body(length: int, data: bytes, *, is_remote: bool, is_error: bool) -> tuple[int, int, bytes]:
    """Flags, length and data."""
    if is_remote and not is_error:
        if length > _HIGHEST_CODE:
            raise LineError(f"{length} is no length code")
        if data:
            raise LineError("data in a remote frame")
        return FrameFlag.REMOTE, length, b""
    is_raw_code = len(data) == CLASSIC_DATA_BYTES and length <= _HIGHEST_CODE and not is_error
    if len(data) != length and not (is_raw_code and length > CLASSIC_DATA_BYTES):
        raise LineError(f"{len(data)} data bytes, where the length says {length}")
    if is_error:
        if length > CLASSIC_DATA_BYTES:
            raise LineError(f"{length} data bytes in an error frame")
        return FrameFlag.ERROR, length, data
    if len(data) <= CLASSIC_DATA_BYTES:
        return 0, length, data
    if length not in FD_LENGTHS:
        raise LineError(f"{length} is no CAN FD length")
    return FrameFlag.FD, length, data
