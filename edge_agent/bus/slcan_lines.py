"""slcan line by line: what an adapter answers, and frames that are not written in the plain form.

The plain form is that of the Lawicel manuals; what other firmware makes of it costs a look at each line:
identifiers filled up with blanks, blanks between the fields, a leftover in front (ACK of a CANdapter, the
end of a text), `z` before what an adapter has sent itself (Nakakiyo's CANable 2), and behind the frame a
letter (`L`, Zubax) or whatever. The kernel's slcan and python-can read a frame whatever stands behind it,
and so it is here.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import cache
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from can_stream.frames.batches import CLASSIC_DATA_BYTES, FD_LENGTHS

# No more than this stands behind a frame; what is longer is no line of an adapter.
MAX_TAIL_BYTES: Final = 64
# Digits that may be a timestamp, and one that is a flag.
MAX_TAIL_DIGITS: Final = 9

_STANDARD: Final = b"trdb"
_EXTENDED: Final = b"TRDBx"
_REMOTE: Final = b"rR"
_FD: Final = b"dDbB"
# What is no printable character, and blanks.
_LEFTOVERS: Final = bytes([*range(0x21), *range(0x7F, 0x100)])
_ID: Final = re.compile(rb"(?:0[xX])?([0-9A-Fa-f]+)")
_DIGITS: Final = re.compile(rb" *([0-9A-Fa-f]*)")
_ANOTHER_FRAME: Final = re.compile(rb"[trTR][0-9A-Fa-f]{4}")
# How many digits a timestamp and an indicator have together; fewer may stand behind a frame too.
_TAILS: Final = (0, 1, 4, 5, 8, MAX_TAIL_DIGITS)
_FEW_DIGITS: Final = 5


class ReplyKind(Enum):
    """What an adapter says besides frames."""

    DONE = "done"
    REFUSED = "refused"
    SENT = "sent"
    STATUS = "status"
    VERSION = "version"
    SERIAL_NUMBER = "serial number"
    STATE = "state"
    ERRORS = "errors"
    REPORT = "report"


_REPLIES: Final = (
    (ReplyKind.SENT, re.compile(rb"[zZ]()")),
    (ReplyKind.DONE, re.compile(rb"00()")),  # SLCAN_26k80 on `F`, whatever its flags are
    (ReplyKind.STATUS, re.compile(rb"F([0-9A-Fa-f]{2})")),
    (ReplyKind.VERSION, re.compile(rb"V([0-9A-Za-z._-]{1,32})")),
    (ReplyKind.SERIAL_NUMBER, re.compile(rb"N([0-9A-Za-z._-]{1,32})")),
    # Unasked, as the kernel's slcan reads them: the controller's state with its counters, and errors.
    (ReplyKind.STATE, re.compile(rb"s([awpb])[0-9]{6}")),
    (ReplyKind.ERRORS, re.compile(rb"e[0-8]([abBcfoOs]{0,8})")),
    # CANable 2.5, where another program has switched them on: bus load, its errors, marks of what it sent.
    (ReplyKind.REPORT, re.compile(rb"(?:L[0-9]{1,3}|E[0-9A-Fa-f]{8}|M[0-9A-Fa-f]{2})()")),
)


class Reply(Struct, frozen=True):
    """`text`: what stands behind the letter."""

    kind: ReplyKind
    text: str = ""


class PlainFrame(Struct, frozen=True):
    """`line`: letter, identifier, length code, data and digits behind it, without anything between.

    `remark`: what else stands behind it. `hides_another`: that looks like a frame whose line end was lost.
    `is_own`: the adapter says of it that it has sent it itself.
    """

    line: bytes
    remark: bytes
    hides_another: bool
    is_own: bool = False


def reply_in(line: bytes, terminator: bytes) -> Reply | None:
    """What an adapter answers with this line; None where it is no answer."""
    if not line:
        kinds = {b"\r": ReplyKind.DONE, b"\a": ReplyKind.REFUSED}
        return Reply(kinds[terminator]) if terminator in kinds else None
    if line == b"OVF":  # canhacker11 when its queue is full
        return Reply(ReplyKind.ERRORS, "o")
    text = line.lstrip(_LEFTOVERS)  # an ACK without a line end stands in front of whatever comes next
    for kind, pattern in _REPLIES:
        if match := pattern.fullmatch(text):
            return Reply(kind, match[1].decode("ascii"))
    return None


def plain_frame(line: bytes) -> PlainFrame | None:
    """The frame in a line; None where there is none."""
    text = line.lstrip(_LEFTOVERS)
    if text[:1] in (b"z", b"Z") and text[1:2] and text[1:2] in _STANDARD + _EXTENDED:
        found = _frame(text[1:])
        return None if found is None else replace(found, is_own=True)
    return _frame(text)


def _frame(text: bytes) -> PlainFrame | None:
    letter = text[:1]
    if not letter or letter not in _STANDARD + _EXTENDED:
        return None
    width = 3 if letter in _STANDARD else 8
    field = text[1 : 1 + width]
    if match := _ID.fullmatch(field.strip(b" ")):
        found = _behind_id(letter, match[1].rjust(width, b"0"), text[1 + width :])
        if found is not None:
            return found
    apart = text[1:].lstrip(b" ")
    if match := _ID.fullmatch(apart[:width]):
        return _behind_id(letter, match[1].rjust(width, b"0"), apart[width:])
    return None


def _behind_id(letter: bytes, digits: bytes, rest: bytes) -> PlainFrame | None:
    code = rest.lstrip(b" ")[:1]
    size = _data_bytes(letter, code)
    match = None if size is None else _data_pattern(size).match(rest)
    if match is None or len(match[2]) > MAX_TAIL_BYTES:
        return None
    tail = _DIGITS.match(match[2])
    assert tail is not None  # it matches nothing too
    number, remark = tail[1], match[2][tail.end() :].strip(b" \0")
    is_apart = match[2][:1] in (b"", b" ") or len(number) in (4, 8)
    if rest[:1] == b" " and not is_apart:  # a length that noise has made a blank
        return None
    if letter in _REMOTE and len(number) > MAX_TAIL_DIGITS:
        number = number[2 * int(code, 16) :]  # data, which some firmware writes behind a remote frame
    hides_another = _ANOTHER_FRAME.search(match[2]) is not None
    if len(number) > _FEW_DIGITS and len(number) not in _TAILS:
        hides_another = hides_another or any(_is_fd_frame(number[begin:]) for begin in _TAILS)
        number, remark = b"", match[2]
    elif len(number) == MAX_TAIL_DIGITS and number[-1:] not in b"01":
        number, remark = b"", match[2]
    head = letter + digits + code + match[1].replace(b" ", b"")
    return PlainFrame(head + number, remark, hides_another)


def _is_fd_frame(text: bytes) -> bool:
    """Whether it is one to its end, in digits alone: its letter is one too."""
    letter, width = text[:1], 3 if text[:1] in _STANDARD else 8
    size = _data_bytes(letter, text[1 + width : 2 + width]) if letter and letter in _FD else None
    return size is not None and len(text) - (2 + width + 2 * size) in _TAILS


def _data_bytes(letter: bytes, code: bytes) -> int | None:
    """How many bytes of data there must be; None where there is no such length."""
    try:
        value = int(code, 16)
    except ValueError:
        return None
    if letter not in _FD and value > CLASSIC_DATA_BYTES:
        return None
    return 0 if letter in _REMOTE else FD_LENGTHS[value]


@cache
def _data_pattern(size: int) -> re.Pattern[bytes]:
    return re.compile(rb" *[0-9A-Fa-f]((?: *[0-9A-Fa-f]{2}){%d})(.*)" % size, re.DOTALL)
