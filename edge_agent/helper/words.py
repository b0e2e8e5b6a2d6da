"""What the agent and its helper say to each other: one line of JSON there, one back."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from edge_agent.errors import HelperError
from edge_agent.host.rtnetlink import MAX_NAME_BYTES

SOCKET: Final = PurePosixPath("/run/edge-agent-helper.sock")
MAX_LINE_BYTES: Final = 1_024

Refusal = Literal["peer", "request", "config", "interface", "down", "too_soon", "failed"]


class Request(Struct, frozen=True):
    """`empty_queue` takes the interface `channel` down and up, which empties the queue of its driver."""

    request: Literal["empty_queue"]
    channel: str


class Answer(Struct, frozen=True, omit_defaults=True):
    """`refused` is "" where it was done; `message` is for people, `wait_seconds` how long to ask no more."""

    refused: Refusal | Literal[""] = ""
    message: str = ""
    wait_seconds: float = 0.0


_Said = TypeVar("_Said", Request, Answer)


def encode(said: Request | Answer) -> bytes:
    """One line."""
    return msgspec.json.encode(said) + b"\n"


def decode_request(line: bytes) -> Request:
    """What is asked for. Raises HelperError for a line that is too long, no JSON, or no known request."""
    request = _decoded(line, Request)
    if not 0 < len(request.channel.encode()) <= MAX_NAME_BYTES:
        raise HelperError(f"the name of an interface has 1 to {MAX_NAME_BYTES} bytes")
    return request


def decode_answer(line: bytes) -> Answer:
    """What was answered. Raises HelperError."""
    return _decoded(line, Answer)


def _decoded(line: bytes, kind: type[_Said]) -> _Said:
    if len(line) > MAX_LINE_BYTES or not line.endswith(b"\n"):
        raise HelperError(f"a line has at most {MAX_LINE_BYTES} bytes and an end")
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise HelperError(f"not understood: {error}") from None
