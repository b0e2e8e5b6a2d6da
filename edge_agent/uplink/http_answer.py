"""An answer over HTTP as far as it tells who answers: our server, or something in its place.

Syntax: RFC 9112. Whoever stands in the way may speak it badly, so nothing here is strict.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Struct

from can_stream.text.foreign import shown

MAX_HEAD_BYTES: Final = 32 * 1024
_STATUS_LINE: Final = re.compile(rb"HTTP/(\d\.\d) (\d{3})(?: [^\r\n]*)?\r?\n")
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
SHOWN_CHARACTERS: Final = 300
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]*)?\r\n")


class ServerError(Struct, frozen=True):
    """What our server says in its own words (docs/server.md): all three members, or it is not ours."""

    code: str
    message: str
    details: dict[str, object]


class HttpAnswer(Struct, frozen=True):
    """`version` is 1.1 or 1.0; `location` and `content_type` are "" where they are not said."""

    status: int
    version: str = "1.1"
    location: str = ""
    content_type: str = ""
    body: bytes = b""

    @property
    def own_words(self) -> ServerError | None:
        """The error of our server; None for anybody else's answer."""
        try:
            error = _decoder.decode(self.body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        return error if _CODE.fullmatch(error.code) else None


_decoder: Final = msgspec.json.Decoder(ServerError)


def parse_answer(content: bytes) -> HttpAnswer | None:
    """What `content` begins with, however much of the body is there; None where that is no HTTP."""
    line = _STATUS_LINE.match(content)
    if line is None:
        return None
    head, _, body = _head_and_body(content[line.end() :])
    headers = _headers(head)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _joined(body)[0]
    elif (length := _length(headers)) is not None:
        body = body[:length]
    return HttpAnswer(
        int(line[2]),
        line[1].decode(),
        headers.get("location", ""),
        headers.get("content-type", ""),
        body,
    )


def is_whole(content: bytes) -> bool:
    """Whether no more is to come, though the connection is still open."""
    line = _STATUS_LINE.match(content)
    if line is None:
        return len(content) >= MAX_HEAD_BYTES
    head, end, body = _head_and_body(content[line.end() :])
    if not end:
        return len(content) >= MAX_HEAD_BYTES
    headers = _headers(head)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _joined(body)[1]
    length = _length(headers)
    return length is not None and len(body) >= length


def in_short(text: str) -> str:
    """Text of the other side, as it may be shown, and not too long."""
    return shown(text, SHOWN_CHARACTERS)


def _head_and_body(rest: bytes) -> tuple[bytes, bytes, bytes]:
    if rest.startswith(b"\r\n"):  # no header at all
        return b"", b"\r\n", rest[2:]
    return rest.partition(b"\r\n\r\n")


def _headers(head: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        found.setdefault(name.strip().lower(), value.strip())
    return found


def _length(headers: dict[str, str]) -> int | None:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _joined(chunks: bytes) -> tuple[bytes, bool]:
    """What the chunks hold, and whether the last one is there."""
    joined, place = b"", 0
    while (size := _CHUNK.match(chunks, place)) is not None:
        length = int(size[1], 16)
        if length == 0:
            return joined, True
        joined += chunks[size.end() : size.end() + length]
        place = size.end() + length + 2
    return joined, False
