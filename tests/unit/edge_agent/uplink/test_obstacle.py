"""The table of sentences: each is whole, and fits what was seen."""

from __future__ import annotations

import pytest

from edge_agent.uplink.http_answer import HttpAnswer
from edge_agent.uplink.obstacle import Way, by_answer, by_certificate, by_server_error, obstacle
from edge_agent.uplink.sentences import TABLE

WAY = Way("http://stream.example.com", "http://proxy.example.com:3128")


@pytest.mark.parametrize("name", TABLE)
def test_every_sentence_says_what_is_so_and_what_to_do(name: str) -> None:
    seen = obstacle(WAY, name, "it was seen", where="https://stream.example.com", remedy="do this")
    assert (
        "(it was seen)" in seen.reason
        or "says it was seen" in seen.reason
        or seen.reason.endswith("it was seen")
    )
    assert seen.remedy
    assert "{" not in seen.text
    assert seen.fault.islower()
    assert not seen.text.endswith(".")


@pytest.mark.parametrize(
    ("url", "location", "where"),
    [
        ("http://stream.example.com", "https://stream.example.com/ws/agent", "https://stream.example.com"),
        (
            "http://stream.example.com:8080",
            "https://stream.example.com:8443/",
            "https://stream.example.com:8443",
        ),
        (
            "ws://stream.example.com/x/",
            "https://stream.example.com/x/healthz",
            "https://stream.example.com/x",
        ),
        ("http://[::1]:80", "https://[::1]/", "https://[::1]"),
    ],
)
def test_the_url_to_write_is_whole(url: str, location: str, where: str) -> None:
    seen = by_answer(Way(url), HttpAnswer(301, location=location))
    assert seen.remedy == f'write `url = "{where}"` below [server]'


@pytest.mark.parametrize("location", ["https://login.example.net/", "http://stream.example.com/x", "//[", ""])
def test_a_redirect_elsewhere_is_not_told_to_be_followed(location: str) -> None:
    assert by_answer(WAY, HttpAnswer(302, location=location)).fault == "portal"


@pytest.mark.parametrize(
    ("code", "fault"),
    [(9, "tls_time"), (10, "tls_time"), (18, "tls"), (20, "tls"), (62, "tls"), (64, "tls"), (23, "tls")],
)
def test_a_certificate_is_judged_by_its_fault(code: int, fault: str) -> None:
    seen = by_certificate(WAY, code, "so it is.", "2026-11-29")
    assert seen.fault == fault
    assert ("2026-11-29" in seen.reason) == (fault == "tls_time")


def test_an_error_that_is_not_in_the_table_has_no_sentence_here() -> None:
    assert by_server_error(WAY, "OVERLOADED", "later") is None
