"""Events as bytes, and what a client may send when it connects."""

from __future__ import annotations

import pytest

from can_stream.text.timestamps import format_timestamp
from stream_server.streams.sse_format import (
    RequestError,
    accepts_event_stream,
    choose_last_event_id,
    encode_event,
    encode_payload,
    encode_retry,
    parse_event_id,
    parse_history,
)


def test_an_event_has_its_id_first_and_ends_with_an_empty_line() -> None:
    payload = encode_payload("log", {"level": "info"})
    assert encode_event("log", payload, 17) == (
        b'id: 17\nevent: log\ndata: {"type":"log","level":"info"}\n\n'
    )


def test_a_snapshot_has_no_id_line() -> None:
    assert encode_event("presence", b"{}") == b"event: presence\ndata: {}\n\n"


def test_line_ends_in_a_payload_stay_inside_its_line() -> None:
    assert encode_payload("log", {"message": "a\nb\r"}).count(b"\n") == 0


def test_retry_is_an_event_stream_field() -> None:
    assert encode_retry(2000) == b"retry: 2000\n\n"


def test_a_timestamp_is_utc_with_microseconds() -> None:
    assert format_timestamp(1_766_417_462_000_123) == "2025-12-22T15:31:02.000123Z"
    assert format_timestamp(-1) == "1969-12-31T23:59:59.999999Z"


@pytest.mark.parametrize(
    ("header", "query", "chosen"),
    [
        ("5", "4", "5"),
        (None, "4", "4"),
        ("", "4", "4"),
        (" 5 ", None, "5"),
        (None, "", None),
        (None, None, None),
    ],
)
def test_the_header_is_chosen_before_the_query(
    header: str | None, query: str | None, chosen: str | None
) -> None:
    assert choose_last_event_id(header, query) == chosen


@pytest.mark.parametrize("text", ["", "-1", "1.0", "+1", "0x10", "١٢", "²", "1" * 21, "abc", "1 2"])
def test_what_is_not_a_decimal_id_is_none(text: str) -> None:
    assert parse_event_id(text) is None


def test_twenty_digits_are_an_id() -> None:
    assert parse_event_id("9" * 20) == 10**20 - 1


@pytest.mark.parametrize(("text", "seconds"), [(None, 0.0), ("", 0.0), ("30", 30.0), ("2.5", 2.5)])
def test_history_is_a_number_of_seconds(text: str | None, seconds: float) -> None:
    assert parse_history(text) == seconds


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "1e9", "1" * 10, "ten", "1.", "٣"])
def test_any_other_history_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="history"):
        parse_history(text)


@pytest.mark.parametrize(
    ("accept", "accepted"),
    [
        (None, True),
        ("", True),
        ("text/event-stream", True),
        ("*/*", True),
        ("text/html, application/xml;q=0.9, */*;q=0.8", True),
        ("application/json", False),
        ("text/event-stream;q=0, */*", False),
        ("text/event-stream;q=0.0", False),
        ("*/*;q=0, text/*", True),
    ],
)
def test_accept_is_honoured(accept: str | None, accepted: bool) -> None:
    assert accepts_event_stream(accept) is accepted
