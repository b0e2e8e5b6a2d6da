"""CRTD, the text log of the Open Vehicle Monitoring System.

`SECONDS.FRACTION [BUS]TYPE ...`; types R11, R29, T11 and T29 are frames: an identifier and up to 8 bytes in
hexadecimal, with or without leading zeros. Readers are asked to pass over all other types (comments, events,
statistics, commands). A record without a bus number is of bus 1, which is channel `can1`. Public source:
docs.openvehicles.com, "CRTD CAN Log Format".
"""

from __future__ import annotations

import re
from typing import Final

from can_stream.errors import LineError
from can_stream.frames.batches import CLASSIC_DATA_BYTES, FrameFlag
from can_stream.logs.log_blocks import FLAG_OF_DIRECTION, Row, check_identifier, timestamp_ns

_HIGHEST_BUS: Final = 255
_FRAME: Final = re.compile(
    rb"(\d{1,10})(?:\.(\d{1,9}))? (\d{0,3})([RT])(11|29) +([0-9A-Fa-f]{1,8})((?: +[0-9A-Fa-f]{1,2})*)\s*"
)
RECORD: Final = "records of other types"
# A type that begins with R or T but is none of the four would be a frame that is lost: not passed over.
_OTHER: Final = re.compile(rb"\d{1,10}(?:\.\d{1,9})? \d{0,3}[A-QSU-Z][A-Z0-9]{2}(?:\s.*)?", re.DOTALL)


def read_crtd_line(line: bytes) -> Row | str:
    """The frame of a record, or what a record of another kind is. Raises `LineError`."""
    match = _FRAME.fullmatch(line)
    if match is None:
        if _OTHER.fullmatch(line):
            return RECORD
        raise LineError("not a CRTD record")
    seconds, fraction, bus, direction, bits, identifier, digits = match.groups()
    arbitration_id, extended = int(identifier, 16), bits == b"29"
    check_identifier(arbitration_id, extended=extended)
    data = bytes(int(byte, 16) for byte in digits.split())
    if len(data) > CLASSIC_DATA_BYTES:
        raise LineError(f"{len(data)} data bytes in a classic frame")
    number = int(bus or b"1")
    if number > _HIGHEST_BUS:
        raise LineError("not a bus number")
    flags = FLAG_OF_DIRECTION[direction] | (FrameFlag.EXTENDED if extended else 0)
    return timestamp_ns(seconds, fraction or b""), f"can{number}", arbitration_id, flags, len(data), data
