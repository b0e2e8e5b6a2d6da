"""Why there is no connection, said so that a user knows what to do, and whether trying again may help."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidMessage, InvalidStatus
from websockets.frames import Close
from websockets.http11 import Response

from can_stream.protocol.control import Error
from edge_agent.uplink.lost import lost_by_answer, lost_by_closing, lost_by_error, lost_unopened

URL = "https://stream.example.com"


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_not_taken_asks_for_another(status: int) -> None:
    lost = lost_by_answer(URL, InvalidStatus(Response(status, "No", Headers())))
    assert lost.refused
    assert lost.reason == (
        f"{URL} refuses this agent's token (HTTP {status}); enrol it again with `edge-agent enroll`"
    )


@pytest.mark.parametrize("status", [200, 301, 404, 429, 500, 502, 503])
def test_another_answer_may_be_another_one_tomorrow(status: int) -> None:
    lost = lost_by_answer(URL, InvalidStatus(Response(status, "So", Headers())))
    assert not lost.refused
    assert lost.reason == f"{URL} answered HTTP {status} instead of opening a WebSocket"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused"),
        (OSError(errno.EHOSTUNREACH, "Multiple exceptions: ..."), "No route to host"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (TimeoutError(), "no answer within 20 s"),
        (untrusted(), "its certificate is not trusted: self-signed certificate; see `server.ca_file`"),
        (ssl.SSLError(1, "wrong version number"), "wrong version number"),
        (InvalidMessage("did not receive a valid HTTP response"), "did not receive a valid HTTP response"),
        (OSError(), "OSError"),
    ],
)
def test_a_server_that_is_not_reached_is_tried_again_and_it_is_said_why(
    error: Exception, reason: str
) -> None:
    lost = lost_unopened(URL, error)
    assert not lost.refused
    assert lost.reason == f"{URL} cannot be reached ({reason})"


@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "FORBIDDEN", "AGENT_MISMATCH", "DONGLE_CONFLICT"])
def test_only_a_person_can_help_against_some_errors(code: str) -> None:
    lost = lost_by_error(Error(code, "rename it"))
    assert lost.refused
    assert lost.reason == f"the server says {code}: rename it"


@pytest.mark.parametrize("code", ["INVALID_MESSAGE", "OVERLOADED", "of a later version"])
def test_any_other_error_may_pass(code: str) -> None:
    assert not lost_by_error(Error(code, "later")).refused


def test_who_closes_is_asked_why() -> None:
    closed = ConnectionClosedError(Close(1001, "the server restarts"), None)
    assert lost_by_closing(closed).reason == "the connection is lost (the server restarts)"


def test_who_just_goes_is_said_to_have_gone() -> None:
    assert lost_by_closing(ConnectionClosedError(None, None)).reason == (
        "the connection is lost (no close frame received or sent)"
    )
