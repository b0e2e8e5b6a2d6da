"""What aiohttp answers by itself, before there is a route: our JSON errors too, no word of the request."""

from __future__ import annotations

import logging
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import (
    BadHttpMethod,
    BadStatusLine,
    HttpProcessingError,
    InvalidHeader,
    InvalidURLError,
    LineTooLong,
)

from stream_server.errors import ApiError

# Not the same, so that the error of one that is too long tells which it was.
MAX_LINE_BYTES: Final = 8_190
MAX_FIELD_BYTES: Final = 8_192
_FIELDS_TOO_LARGE: Final = "HEADER_FIELDS_TOO_LARGE"
_FIELD: Final = "a header field is not `Name: value` in printable characters"
_ADDRESS: Final = "the address in the request line cannot be read"
# How a message of aiohttp's parser begins -> status, code, what we say. What follows there is what was sent.
_BY_MESSAGE: Final = (
    ("Too many", 431, _FIELDS_TOO_LARGE, "too many header fields; send fewer"),
    ("Received HTTPS", 400, "BAD_REQUEST", "this port speaks no TLS: write http://"),
    ("Pause on PRI", 400, "BAD_REQUEST", "HTTP/2 is not spoken here, only HTTP/1.1"),
    ("Invalid characters in url", 400, "BAD_REQUEST", _ADDRESS),
    ("Invalid header", 400, "BAD_REQUEST", _FIELD),
    ("Missing 'Host'", 400, "BAD_REQUEST", "the header field Host is missing"),
    ("Duplicate", 400, "BAD_REQUEST", "a header field comes twice that may come once"),
    ("Invalid character in Content-Length", 400, "BAD_REQUEST", "Content-Length is no whole number"),
    ("Invalid character in chunk", 400, "BAD_REQUEST", "a chunk of the body does not begin with its size"),
)
_BY_KIND: Final = (
    (InvalidURLError, _ADDRESS),
    (InvalidHeader, _FIELD),
    (BadHttpMethod, "the request line does not begin with a method of HTTP"),
    (BadStatusLine, "the request line has no version of HTTP that is known here"),
    (HttpProcessingError, "this cannot be read as a request of HTTP/1.1"),
)


def refusal(error: HttpProcessingError) -> ApiError:
    """Our error for a request that aiohttp cannot read."""
    if isinstance(error, LineTooLong):
        if error.args[1:2] == (MAX_LINE_BYTES,):
            return ApiError(414, "URI_TOO_LONG", f"a request line has at most {MAX_LINE_BYTES} bytes")
        message = f"a header field has at most {MAX_FIELD_BYTES} bytes; clear this site's cookies"
        return ApiError(431, _FIELDS_TOO_LARGE, message)
    for beginning, status, code, said in _BY_MESSAGE:
        if error.message.startswith(beginning):
            return ApiError(status, code, said)
    return ApiError(400, "BAD_REQUEST", next(said for kind, said in _BY_KIND if isinstance(error, kind)))


def is_own_fault(record: logging.LogRecord) -> bool:
    """A logging filter: what is no HTTP gets its 400; a traceback for each would let anybody fill the log."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)
