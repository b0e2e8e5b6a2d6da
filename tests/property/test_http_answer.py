"""Whatever somebody in the server's place says is an answer or none, and has a sentence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from can_stream.text.foreign import shown
from edge_agent.uplink.http_answer import HttpAnswer, is_whole, parse_answer
from edge_agent.uplink.obstacle import REFUSALS, Way, by_answer, by_proxy_answer, by_server_error

WAY = Way("http://stream.example.com:8080/base", "http://proxy.example.com:3128")
LINES = st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 302 Found\r\n", b"HTTP/1.1 407 No\r\n"])
HEADERS = st.sampled_from(
    [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Content-Length: 99999999999\r\n",
     b":\r\n",
     b"Location: ", b"Content-Type: text/html\r\n", b"\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n"]
)  # fmt: skip


@given(LINES, st.lists(HEADERS | st.binary(max_size=40), max_size=8))
def test_any_bytes(line: bytes, rest: list[bytes]) -> None:
    for content in (line + b"".join(rest), b"".join(rest)):
        is_whole(content)
        answer = parse_answer(content)
        if answer is not None:
            assert by_answer(WAY, answer).text


@given(st.integers(100, 999), st.text(max_size=60), st.text(max_size=20), st.binary(max_size=60))
def test_no_foreign_answer_refuses_the_agent(status: int, location: str, kind: str, body: bytes) -> None:
    answer = HttpAnswer(status, "1.1", location, kind, body)
    seen = by_answer(WAY, answer)
    assert shown(seen.text) == seen.text
    assert seen.remedy
    assert answer.own_words is not None or seen.fault not in REFUSALS
    assert by_proxy_answer(WAY, status).fault == "proxy"


@given(
    st.sampled_from(["AGENT_MISMATCH", "FORBIDDEN", "DUPLICATE_IDENTITY", "DONGLE_CONFLICT"]),
    st.text(max_size=400),
)
def test_whatever_our_server_says_is_said_safely(code: str, message: str) -> None:
    seen = by_server_error(WAY, code, message)
    assert seen is not None
    assert shown(seen.text) == seen.text
    assert seen.fault in REFUSALS
