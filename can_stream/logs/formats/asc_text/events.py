"""What the lines of a Vector ASC log are that are no CAN frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from can_stream.errors import LineError
from can_stream.logs.log_blocks import COMMENT, HEADER

CAN_XL: Final = "CAN XL frames"
STATUS: Final = "status lines"
STATISTICS: Final = "bus statistics"
OVERLOAD: Final = "overload frames"
ENVIRONMENT: Final = "environment variables"
OTHER: Final = "events of other kinds"

_KINDS: Final = {
    b"canxl": CAN_XL,
    b"can": STATUS,
    b"statistic:": STATISTICS,
    b"overloadframe": OVERLOAD,
    b"j1939tp": "J1939 transport messages",
    b"li": "LIN events",
    b"fr": "FlexRay events",
    b"eth": "Ethernet events",
    b"sv:": "system variables",
    b"start": HEADER,
    b"tfs:": "test events",
    b"gps:": "GPS events",
    b"comment:": COMMENT,
}
_OTHER_BUSES: Final = re.compile(rb"(?:afdx|a429|arinc|car2x|j1587|j1708|kline|most?|m\d|wlan)[\w:]*")
_LIN: Final = re.compile(rb"l\d{1,2}|lin\w*")
_OF_FRAMES: Final = frozenset((b"rx", b"tx", b"txrq"))
_STAMP: Final = re.compile(rb".*\d\.\d+")
# Time, CANFD, channel, identifier, name, direction.
_FIELDS_TO_DIRECTION: Final = 5


def kind_of_event(words: Sequence[bytes]) -> str:
    """The kind of event that `words` are, what stands behind its time.

    Raises `LineError` for what may have been a frame, which must not pass for something else.
    """
    known = _known_kind(words)
    if known is not None:
        return known
    if len(words) > 1 and words[1] in (b":=", b"="):
        return ENVIRONMENT
    if not words or not words[0][:1].isalpha() or any(word.lower() in _OF_FRAMES for word in words):
        raise LineError("not a frame and no event that is known")
    return OTHER


def kind_of_channel_event(words: Sequence[bytes]) -> str:
    """The same of what stands behind a channel: all but a few kinds are frames there."""
    known = _known_kind(words)
    if known is None:
        raise LineError("neither an identifier with Rx or Tx nor an event that is known")
    return known


def check_no_frame_behind(words: Sequence[bytes]) -> None:
    """A recorder that was killed ends within an event; the frame that another appends goes on in its line.
    Raises `LineError`."""
    for at, word in enumerate(words):
        behind = words[at + 1 : at + 1 + _FIELDS_TO_DIRECTION]
        if _STAMP.fullmatch(word) and any(one.lower() in _OF_FRAMES for one in behind[1:]):
            raise LineError("two lines in one: a line end is missing")


def _known_kind(words: Sequence[bytes]) -> str | None:
    first = words[0].lower() if words else b""
    if first.startswith(b"status:"):
        return STATUS
    if first.startswith(b"//"):
        return COMMENT
    if _LIN.fullmatch(first):
        return _KINDS[b"li"]
    if _OTHER_BUSES.fullmatch(first):
        return "events of other buses"
    return _KINDS.get(first)
