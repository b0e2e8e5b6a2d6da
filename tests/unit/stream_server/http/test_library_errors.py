"""What aiohttp refuses is said in our words, by cause, and without what was sent."""

from __future__ import annotations

import logging
import sys

import pytest
from aiohttp import http_exceptions, web
from aiohttp.http_exceptions import (
    BadHttpMessage,
    BadHttpMethod,
    BadStatusLine,
    HttpProcessingError,
    InvalidHeader,
    InvalidURLError,
    LineTooLong,
)
from hypothesis import given
from hypothesis import strategies as st

from stream_server.http.library_errors import MAX_FIELD_BYTES, MAX_LINE_BYTES, is_own_fault, refusal

MARK = "tell-tale"
ERRORS = {
    "field": (LineTooLong(b"tell-tale...", MAX_FIELD_BYTES), 431, "8192 bytes"),
    "line": (LineTooLong(b"tell-tale...", MAX_LINE_BYTES), 414, "8190 bytes"),
    "many": (BadHttpMessage("Too many headers received"), 431, "too many"),
    "tls": (BadHttpMethod("\x16\x03tell-tale"), 400, "TLS"),
    "method": (BadHttpMethod(error="Invalid method encountered:\n\n  b'tell-tale'"), 400, "method"),
    "version": (BadStatusLine(error="Bad status line:\n  b'tell-tale'"), 400, "version"),
    "header": (InvalidHeader(b"tell-tale"), 400, "header field"),
    "address": (InvalidURLError("http://tell-tale"), 400, "address"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_every_cause_has_its_words(name: str) -> None:
    error, status, said = ERRORS[name]
    answer = refusal(error)
    assert answer.status == status
    assert said in answer.message
    assert MARK not in answer.message


@given(st.text(min_size=12), st.sampled_from([BadHttpMessage, BadStatusLine, InvalidHeader, InvalidURLError]))
def test_nothing_that_was_sent_is_said_again(sent: str, kind: type[BadHttpMessage]) -> None:
    assert sent not in refusal(kind(sent)).message


def test_every_error_of_the_library_has_an_answer() -> None:
    for kind in vars(http_exceptions).values():
        if isinstance(kind, type) and issubclass(kind, BadHttpMessage):
            assert 400 <= refusal(kind(MARK)).status < 500
    assert refusal(HttpProcessingError(message=MARK)).status == 400


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (InvalidHeader(b"x"), False),
        (web.RequestPayloadError("x"), False),
        (ValueError("x"), True),
        (None, True),
    ],
)
def test_only_our_own_faults_are_logged(error: Exception | None, kept: bool) -> None:
    try:
        if error is not None:
            raise error
        info = None
    except Exception:
        info = sys.exc_info()
    record = logging.LogRecord("aiohttp.server", logging.ERROR, "", 0, "said", None, info)
    assert is_own_fault(record) is kept
