"""Server-sent events as bytes, and what a client may say when it connects.

The format is the WHATWG HTML standard's `text/event-stream`, section 9.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from stream_server.streams.ring import SharedText

CONTENT_TYPE: Final = "text/event-stream"
KEEP_ALIVE: Final = b": keep-alive\n\n"
MAXIMUM_ID_DIGITS: Final = 20

_HISTORY: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_encoder: Final = msgspec.json.Encoder()


class RequestError(Exception):
    """A client's request for a stream cannot be read: `field` of it, and `reason`."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}")


def encode_event(event: str, payload_json: bytes, event_id: int | None = None) -> bytes:
    """One event; `payload_json` is one line of JSON. Without an id the client's last id stays."""
    # Not by `%`, which takes half as much again: what it gives back of a large event is no use to the next.
    return b"".join((encode_head(event, event_id), payload_json, b"\n\n"))


def encode_head(event: str, event_id: int | None) -> bytes:
    """What stands before the payload."""
    head = f"event: {event}\ndata: " if event_id is None else f"id: {event_id}\nevent: {event}\ndata: "
    return head.encode()


def encode_shared(event: str, payload: Mapping[str, object]) -> SharedText:
    """What follows `encode_head` in each of many streams."""
    return SharedText(encode_payload(event, payload) + b"\n\n")


def encode_payload(event: str, payload: Mapping[str, object]) -> bytes:
    """`payload` as one line of JSON with its event name as `type`."""
    return _encoder.encode({"type": event, **payload})


def encode_retry(milliseconds: int) -> bytes:
    """How long the client is to wait before it connects again."""
    return b"retry: %d\n\n" % milliseconds


def choose_last_event_id(header: str | None, query: str | None) -> str | None:
    """What the client would resume from: the header before the query, None where both are empty.

    The header wins because EventSource sends it when it reconnects to a URL whose query is older.
    """
    for text in (header, query):
        if text is not None and text.strip():
            return text.strip()
    return None


def parse_event_id(text: str) -> int | None:
    """A decimal id of at most 20 digits; None for whatever else it is."""
    if len(text) <= MAXIMUM_ID_DIGITS and text.isascii() and text.isdigit():
        return int(text)
    return None


def parse_history(text: str | None) -> float:
    """The seconds of `?history=`, 0 without one; RequestError where it is no plain number."""
    if not text:
        return 0.0
    if not _HISTORY.fullmatch(text):
        raise RequestError("history", "must be a number of seconds such as 30 or 2.5")
    return float(text)


def accepts_event_stream(accept: str | None) -> bool:
    """Whether an Accept header admits `text/event-stream` (RFC 9110, section 12.5.1); none admits all."""
    if not accept or not accept.strip():
        return True
    best = (-1, 0.0)
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        specificity = {"*/*": 0, "text/*": 1, CONTENT_TYPE: 2}.get(media)
        if specificity is not None:
            best = max(best, (specificity, _quality(parameters)))
    return best[1] > 0


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return 0.0 if re.fullmatch(r"0(\.0*)?", value.strip()) else 1.0
    return 1.0
