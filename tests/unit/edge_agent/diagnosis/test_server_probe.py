"""Whether a server can be reached and takes the token: real servers, and networks that no test has."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from edge_agent.diagnosis import server_probe
from edge_agent.diagnosis.diagnosis import Fact
from edge_agent.diagnosis.server_probe import server_fact
from tests.helpers.foreign_servers import ForeignServer, http
from tests.helpers.http_answers import HttpAnswers, self_signed

TOKEN = "cea_agent_secret"
BEAT = "/api/v1/agents/heartbeat"
HEALTHY = {"/healthz": (200, {"status": "ok"})}
INVALID = {"code": "BAD_REQUEST", "message": "the body cannot be read", "details": {}}


def stated(fact: Fact | None) -> tuple[str, str]:
    assert fact is not None
    assert fact.about == "server"
    assert TOKEN not in fact.text
    return fact.fault, fact.text


def asked(status: int, code: str | None) -> Fact | None:
    """A server that is well and answers an empty heartbeat so."""
    body = {} if code is None else {"code": code, "message": "so it is", "details": {}}
    with HttpAnswers({**HEALTHY, BEAT: (status, body)}) as server:
        return server_fact(f"http://{server.authority}", None, TOKEN, "/etc/agent.token")


# -- the token


def test_a_server_that_refuses_only_the_empty_content_takes_the_token() -> None:
    with HttpAnswers({**HEALTHY, BEAT: (400, INVALID)}) as server:
        assert server_fact(f"ws://{server.authority}", None, TOKEN) is None
        paths = [(one.method, one.path, one.authorization, one.body) for one in server.requests]
    assert paths == [("GET", "/healthz", None, None), ("POST", BEAT, f"Bearer {TOKEN}", {})]


@pytest.mark.parametrize(("status", "code"), [(200, None), (400, "BAD_REQUEST"), (429, "RATE_LIMITED")])
def test_what_a_good_token_gets(status: int, code: str | None) -> None:
    assert asked(status, code) is None


def test_a_token_that_is_refused_is_said_with_the_remedy() -> None:
    fault, text = stated(asked(401, "UNAUTHENTICATED"))
    assert fault == "refused"
    assert "refuses this agent's token (HTTP 401, UNAUTHENTICATED: so it is): enrol it again" in text
    assert "with `edge-agent enroll --server http://" in text
    assert text.endswith(" --token-file FILE --out /etc/agent.token`")


@pytest.mark.parametrize(
    ("status", "fault"),
    [(401, "firewall"), (403, "firewall"), (400, "not_a_stream_server"), (404, "not_a_stream_server"),
     (502, "gateway"), (302, "portal"), (429, "rate_limited")],
)  # fmt: skip
def test_who_does_not_speak_as_our_server_is_somebody_else(status: int, fault: str) -> None:
    assert stated(asked(status, None))[0] == fault


def test_without_a_token_the_server_alone_is_looked_at() -> None:
    with HttpAnswers(HEALTHY) as server:
        assert server_fact(f"http://{server.authority}", None, None) is None
    assert [one.path for one in server.requests] == ["/healthz"]


# -- the server


@pytest.mark.parametrize(
    ("status", "fault"), [(302, "portal"), (404, "not_a_stream_server"), (503, "gateway")]
)
def test_a_server_that_is_not_healthy_never_sees_the_token(status: int, fault: str) -> None:
    with HttpAnswers({"/healthz": (status, {})}) as server:
        found, _ = stated(server_fact(f"http://{server.authority}", None, TOKEN))
    assert (found, len(server.requests)) == (fault, 1)
    assert server.requests[0].authorization is None


def test_a_portal_that_takes_everything_never_sees_the_token() -> None:
    with ForeignServer(http(200, b"<html>welcome", Content_Type="text/html")) as portal:
        assert stated(server_fact(f"http://{portal.authority}", None, TOKEN))[0] == "portal"
    assert len(portal.requests) == 1


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        fault, text = stated(server_fact(url, None, TOKEN))
    assert fault == "unreachable"
    assert text == (
        f"{url} cannot be reached (Connection refused): check the port in `server.url`, and whether the "
        "server runs"
    )


def test_a_server_that_says_nothing_is_not_waited_for_long(mocker: MockerFixture) -> None:
    mocker.patch.object(server_probe, "TIMEOUT_SECONDS", 0.1)
    with ForeignServer(None) as silent:
        fault, text = stated(server_fact(f"http://{silent.authority}", None, TOKEN))
    assert fault == "unreachable"
    assert "does not answer (no answer within 0.1 s): check firewalls" in text


# -- certificates


def test_a_certificate_must_be_trusted(tmp_path: Path) -> None:
    ca_file, tls = self_signed(tmp_path)
    with HttpAnswers({**HEALTHY, BEAT: (400, INVALID)}, tls) as server:
        url = f"https://{server.authority}"
        fault, text = stated(server_fact(url, None, TOKEN))
        assert fault == "tls"
        assert (
            "of a CA that this machine does not know (self-signed certificate): set `server.ca_file`" in text
        )
        assert server.requests == []
        assert server_fact(url, ca_file, TOKEN) is None


def test_a_ca_file_that_is_none_is_said_before_anybody_is_asked(tmp_path: Path) -> None:
    fault, text = stated(server_fact("https://127.0.0.1:1", tmp_path / "none.pem", TOKEN))
    assert fault == "bad_ca_file"
    assert f"{tmp_path / 'none.pem'} cannot be used" in text
