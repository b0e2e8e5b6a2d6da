"""Why there is no connection, said so that a user knows what to do, and whether trying again may help."""

from __future__ import annotations

import errno
import socket

import pytest
from msgspec import structs
from websockets.exceptions import ConnectionClosedError, InvalidUpgrade
from websockets.frames import Close

from can_stream.protocol.control import Error
from edge_agent.uplink.lost import LostError, lost_by_closing, lost_by_error, obstacle_of
from edge_agent.uplink.obstacle import Way, in_options

WAY = Way("https://stream.example.com")


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("UNAUTHENTICATED", "refused"),
        ("FORBIDDEN", "refused"),
        ("AGENT_MISMATCH", "wrong_agent"),
        ("DONGLE_CONFLICT", "dongle_conflict"),
        ("DUPLICATE_IDENTITY", "duplicate"),
    ],
)
def test_only_a_person_can_help_against_some_errors(code: str, fault: str) -> None:
    lost = lost_by_error(WAY, Error(code, "it is so"))
    assert lost.refused
    assert lost.fault == fault
    assert f"{code}: it is so" in lost.reason


@pytest.mark.parametrize("code", ["INVALID_MESSAGE", "OVERLOADED", "of a later version"])
def test_any_other_error_may_pass(code: str) -> None:
    lost = lost_by_error(WAY, Error(code, "later"))
    assert not lost.refused
    assert lost.reason == f"the server says {code}: later"


def test_a_token_of_another_agent_is_a_refusal_that_names_both() -> None:
    text = "agent_id: 'gateway' is not the owner of this token, which is that of 'van7'"
    lost = lost_by_error(structs.replace(WAY, token_file="/etc/my token"), Error("AGENT_MISMATCH", text))
    assert lost.refused
    command = (
        f"edge-agent enroll --server {WAY.url} --token-file FILE --agent-id gateway --out '/etc/my token'"
    )
    remedy = f'set `id = "van7"` below [agent], or run `{command}`'
    assert in_options(remedy) == f'set `--agent-id "van7"`, or run `{command}`', "where there is no file"
    assert lost.reason == f"the token is that of another agent (AGENT_MISMATCH: {text}): {remedy}"


def test_a_server_of_before_says_the_same_as_a_broken_protocol() -> None:
    lost = lost_by_error(WAY, Error("PROTOCOL_ERROR", "agent_id: 'gateway' is not the owner of this token"))
    assert lost.refused
    assert "set `id`, to what it was enrolled as, below [agent]" in lost.reason
    assert "set `--agent-id` to what it was enrolled as, or run" in in_options(lost.reason)


def test_who_closes_is_asked_why() -> None:
    closed = ConnectionClosedError(Close(1001, "the server restarts"), None)
    assert lost_by_closing(closed).reason == "the connection is lost (the server restarts)"


def test_who_just_goes_is_said_to_have_gone() -> None:
    lost = lost_by_closing(ConnectionClosedError(None, None))
    assert lost.reason == "the connection is lost (no close frame received or sent)"
    assert (lost.fault, lost.refused, lost.at_once) == ("disconnected", False, False)
    assert LostError("the network has changed", at_once=True).at_once


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[Errno 101] Connect call failed ('2001:db8::1', 80), [Errno 111] Connect call failed",
         "Connection refused"),
        ("[Errno 111] Connect call failed, [Errno 101] Connect call failed", "Connection refused"),
        ("[Errno 113] Connect call failed, [Errno 101] Connect call failed", "No route to host"),
    ],
)  # fmt: skip
def test_of_several_addresses_the_one_that_says_most_is_told(text: str, words: str) -> None:
    seen = obstacle_of(WAY, OSError(f"Multiple exceptions: {text}"))
    assert (seen.fault, seen.reason) == ("unreachable", f"{WAY.url} cannot be reached ({words})")


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OSError(errno.ENETDOWN, "Network is down"), "no_network"),
        (OSError("Multiple exceptions: [Errno 101] a, [Errno 101] b"), "no_network"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "unreachable"),
        (socket.gaierror(socket.EAI_NODATA, "No address associated with hostname"), "name_not_resolved"),
        (InvalidUpgrade("Connection", "close"), "mute"),
        (RuntimeError("what nobody thought of"), "unreachable"),
        (OSError(), "unreachable"),
    ],
)
def test_whatever_happens_has_a_name(error: Exception, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.uplink.lost.has_default_route", lambda: True)
    assert obstacle_of(WAY, error).fault == fault


def test_bytes_that_open_a_websocket_badly_are_somebody_in_between() -> None:
    seen = obstacle_of(WAY, InvalidUpgrade("Upgrade", None), b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert seen.fault == "firewall"
    assert "pass WebSockets on" in seen.remedy
