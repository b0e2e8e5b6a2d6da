"""What the agent and its helper say to each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import HelperError
from edge_agent.helper.words import (
    MAX_LINE_BYTES,
    Answer,
    Request,
    decode_answer,
    decode_request,
    encode,
)


def test_both_are_one_line() -> None:
    assert encode(Request("empty_queue", "can0")) == b'{"request":"empty_queue","channel":"can0"}\n'
    assert decode_request(encode(Request("empty_queue", "can0"))) == Request("empty_queue", "can0")
    for answer in (Answer(), Answer("too_soon", "a moment ago", 3.5)):
        assert decode_answer(encode(answer)) == answer


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'{"request":"empty_queue","channel":"can0"}',
        b'{"request":"set_bitrate","channel":"can0"}\n',
        b'{"channel":"can0"}\n',
        b'{"request":"empty_queue","channel":""}\n',
        b'{"request":"empty_queue","channel":"%s"}\n' % (b"c" * 16),
        b'{"request":"empty_queue","channel":"can0","x":"%s"}\n' % (b"c" * MAX_LINE_BYTES),
        b"[" * 1_000 + b"\n",
    ],
)
def test_nothing_else_is_a_request(line: bytes) -> None:
    with pytest.raises(HelperError):
        decode_request(line)


@given(st.binary(max_size=64))
def test_whatever_comes_is_understood_or_refused(line: bytes) -> None:
    for decode in (decode_request, decode_answer):
        try:
            decode(line + b"\n")
        except HelperError as error:
            assert str(error)  # noqa: PT017 - most lines raise it
