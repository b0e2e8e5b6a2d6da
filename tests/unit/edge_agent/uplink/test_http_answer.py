"""What an answer over HTTP tells of who gives it."""

from __future__ import annotations

import pytest

from edge_agent.uplink.http_answer import HttpAnswer, in_short, is_whole, parse_answer
from tests.helpers.foreign_servers import http, own

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_an_answer_is_read_with_what_tells_who_speaks() -> None:
    content = http(
        302, b"<html>", Location="http://login.example.net/", Content_Type="text/html; charset=utf-8"
    )
    assert parse_answer(content) == HttpAnswer(
        302, "1.1", "http://login.example.net/", "text/html; charset=utf-8", b"<html>"
    )


@pytest.mark.parametrize(
    ("content", "status", "version", "body"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nrest", 200, "1.0", b"rest"),
        (b"HTTP/1.1 403\n", 403, "1.1", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcd", 200, "1.1", b"ab"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nabcd", 200, "1.1", b"abcd"),
        (CHUNKED + b"3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n", 200, "1.1", b"abcd"),
        (CHUNKED + b"9\r\nabc", 200, "1.1", b"abc"),
    ],
)  # fmt: skip
def test_it_is_read_as_it_comes(content: bytes, status: int, version: str, body: bytes) -> None:
    answer = parse_answer(content)
    assert answer is not None
    assert (answer.status, answer.version, answer.body) == (status, version, body)


@pytest.mark.parametrize("content", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/2 200\r\n", b"HTTP/1.1 20\r\n"])
def test_what_is_no_http_is_none(content: bytes) -> None:
    assert parse_answer(content) is None


def test_own_words_have_all_that_our_server_says() -> None:
    answer = parse_answer(own(401, "UNAUTHENTICATED", "void"))
    assert answer is not None
    assert answer.own_words is not None
    assert (answer.own_words.code, answer.own_words.message) == ("UNAUTHENTICATED", "void")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"message":"Forbidden"}',
        b'{"code":"UNAUTHENTICATED"}',
        b'{"code":"UNAUTHENTICATED","message":"void"}',
        b'{"code":"access denied","message":"no","details":{}}',
        b'{"code":401,"message":"no","details":{}}',
        b'{"code":"X","message":"no","details":[]}',
        b"[" * 5000,
        b"\xff",
    ],
)
def test_anybody_elses_words_are_not_ours(body: bytes) -> None:
    assert HttpAnswer(401, body=body).own_words is None


def test_it_is_known_when_no_more_is_to_come() -> None:
    for content in (
        http(200, b"abcde"),
        CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ):
        assert is_whole(content)
        assert not any(is_whole(content[:-cut]) for cut in range(4, len(content)))
    assert not is_whole(b"HTTP/1.1 200 OK\r\n\r\nuntil it closes")
    assert is_whole(b"x" * 40_000)
    assert is_whole(b"HTTP/1.1 200 OK\r\n" + b"x" * 40_000)


def test_what_is_shown_harms_no_terminal() -> None:
    assert in_short("a\x1b[2J\nb" + "x" * 400) == r"a\x1b[2J\nb" + "x" * 293
