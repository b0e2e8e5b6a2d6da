"""Real servers of every kind that stands between an agent and its server: what is said of each.

The door of the agent and the question of `doctor` and `enroll` go to the same server, and must say the same.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from pytest_mock import MockerFixture

from edge_agent.host.look_up import run
from edge_agent.uplink import lost
from edge_agent.uplink.asking import Asking
from edge_agent.uplink.counts import UplinkCounts
from edge_agent.uplink.http_answer import HttpAnswer
from edge_agent.uplink.keys import Keys
from edge_agent.uplink.lost import LostError
from edge_agent.uplink.obstacle import Obstacle, by_answer
from edge_agent.uplink.opening import ServerDoor
from tests.helpers.certificates import Authority
from tests.helpers.foreign_servers import ForeignServer, http, own

TOKEN: Final = "cea_agent_secret"
NAMED: Final = "stream.example.com"
PAGE: Final = {"Content_Type": "text/html"}
ENROL: Final = "refuses this agent's token"


def by_the_door(url: str, ca_file: Path | None = None) -> LostError:
    """What the agent's own way meets."""
    door = ServerDoor(url, Keys(TOKEN, ca_file), UplinkCounts())
    with pytest.raises(LostError) as caught:
        run(door.open("/ws/agent"))
    assert TOKEN not in str(caught.value)
    return caught.value


def by_asking(url: str, ca_file: Path | None = None) -> Obstacle:
    """What a question meets."""
    asking = Asking(url, ca_file, 5.0)
    answer = asking.ask("/healthz")
    return by_answer(asking.way, answer) if isinstance(answer, HttpAnswer) else answer


def met(url: str, ca_file: Path | None = None) -> LostError:
    """By either way, which agree."""
    seen, asked = by_the_door(url, ca_file), by_asking(url, ca_file)
    assert (seen.fault, seen.reason) == (asked.fault, asked.text)
    return seen


def says(seen: LostError, fault: str, *parts: str) -> None:
    assert seen.fault == fault, seen.reason
    for part in parts:
        assert part in seen.reason
    if fault != "refused":
        assert "edge-agent enroll" not in seen.reason
        assert not seen.refused


# -- what answers over HTTP

FOREIGN: Final = [
    (http(302, Location="http://login.example.net/?mac=1"), "portal", "HTTP 302 to http://login.example.net)"),
    (http(303, Location="/login"), "portal", "captive portal"),
    (http(307, Location="http://[::1"), "portal", "captive portal"),
    (http(200, b"<html>", **PAGE), "portal", "HTTP 200 with a web page): it is a captive portal"),
    (http(204), "portal", "HTTP 204"),
    (http(511, b"<html>", **PAGE), "portal", "HTTP 511 with a web page): it is a captive portal"),
    (http(403, b"<html>blocked", **PAGE), "firewall", "not the token: have it let WebSockets through to"),
    (http(403, b'{"message":"Forbidden"}'), "firewall", "HTTP 403"),
    (http(401, WWW_Authenticate="Basic"), "firewall", "HTTP 401"),
    (http(451), "firewall", "HTTP 451"),
    (http(407, Proxy_Authenticate="Basic"), "proxy", "a proxy on the way", "HTTPS_PROXY"),
    (http(301, Location="http://new.example.com/x"), "redirected", "HTTP 301 to http://new.", "`server.url`"),
    (http(308, Location="http://new.example.com:81/x"), "redirected", "to http://new.example.com:81)"),
    (http(426), "no_upgrade", "Behind a reverse proxy"),
    (http(404), "not_a_stream_server", "check `server.url`, its port and path"),
    (http(400), "not_a_stream_server", "HTTP 400"),
    (http(429), "rate_limited", "asked too often", "wait"),
    (http(502), "gateway", "the proxy in front of", "whether the stream server runs"),
    (http(503), "gateway", "HTTP 503"),
    (http(400, b"The plain HTTP request was sent to HTTPS port"), "tls", "write https:// in `server.url`"),
    (http(400, b"Client sent an HTTP request to an HTTPS server.\n", version="1.0"), "tls", "write https://"),
    (http(302, version="1.0", Location="http://login.example.net/"), "portal", "HTTP/1.0 302 to http://login"),
    (http(200, b"<html>", version="1.0", **PAGE), "portal", "HTTP/1.0 200 with a web page"),
    (http(200, version="1.0"), "firewall", "HTTP/1.0, which has no WebSockets"),
    (http(403, version="1.0"), "firewall", "HTTP/1.0 403"),
    (http(404, version="1.0"), "not_a_stream_server", "HTTP/1.0 404"),
    (b"220 mail.example.com ESMTP\r\n", "not_a_stream_server", "check `server.url`"),
    (b"\x15\x03\x01\x00\x02\x02\x46", "tls", "it answers in TLS", "write https://"),
]  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN, ids=lambda case: repr(case[0][:24]))
def test_what_answers_in_the_servers_place_is_known_as_such(case: tuple[bytes, ...]) -> None:
    answer, fault, *parts = case
    with ForeignServer(answer) as server:
        url = f"http://{server.authority}"
        seen = by_the_door(url)
        if not answer.startswith(b"220"):
            asked = by_asking(url)
            assert (asked.fault, asked.text) == (seen.fault, seen.reason)
    says(seen, str(fault), *map(str, parts))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_server_that_sends_to_https_asks_for_another_url(status: int) -> None:
    with ForeignServer(http(status, Location="https://127.0.0.1/base/ws/agent")) as server:
        says(met(f"http://{server.authority}/base"), "redirected", 'write `url = "https://127.0.0.1/base"`')


def test_a_redirect_is_never_followed_with_the_token() -> None:
    with ForeignServer(http(404)) as other:
        with ForeignServer(http(307, Location=f"http://{other.authority}/ws/agent")) as server:
            by_the_door(f"http://{server.authority}")
        assert other.requests == []


def test_what_says_nothing_is_told_from_what_wants_tls(authority: Authority) -> None:
    with ForeignServer(b"") as server:
        says(met(f"http://{server.authority}"), "mute", "says nothing (it closes the connection)")
    with ForeignServer(b"", tls=authority.server()) as server:
        says(met(f"http://{server.authority}"), "tls", "it speaks TLS only", "write https://")


# -- our server, in its own words


@pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHENTICATED"), (403, "FORBIDDEN")])
def test_only_our_server_can_ask_for_another_token(status: int, code: str) -> None:
    with ForeignServer(own(status, code, "this credential is void")) as server:
        seen = met(f"http://{server.authority}")
    assert seen.refused
    says(
        seen,
        "refused",
        ENROL,
        f"HTTP {status}, {code}: this credential is void",
        "`edge-agent enroll --server http",
    )


def test_the_remedy_names_the_file_that_the_agent_reads(tmp_path: Path) -> None:
    with ForeignServer(own(401, "UNAUTHENTICATED")) as server:
        door = ServerDoor(f"http://{server.authority}", Keys(TOKEN, None, [tmp_path / "my"]), UplinkCounts())
        with pytest.raises(LostError, match=f"`edge-agent enroll .* --out {tmp_path / 'my'}`"):
            run(door.open("/ws/agent"))


@pytest.mark.parametrize(
    ("status", "code", "fault"),
    [
        (426, "UPGRADE_REQUIRED", "no_upgrade"),
        (429, "TOO_MANY_FAILURES", "rate_limited"),
        (503, "STORAGE_UNAVAILABLE", "server_error"),
        (500, "INTERNAL_ERROR", "server_error"),
        (404, "NOT_FOUND", "not_a_stream_server"),
    ],
)
def test_what_else_our_server_says_is_passed_on(status: int, code: str, fault: str) -> None:
    with ForeignServer(own(status, code)) as server:
        says(met(f"http://{server.authority}"), fault, f"HTTP {status}, {code}: no")


# -- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "ca")


def met_with(tls: ssl.SSLContext, ca_file: Path | None) -> LostError:
    with ForeignServer(http(404), tls=tls) as server:
        return met(f"https://{server.authority}", ca_file)


def test_each_fault_of_a_certificate_has_its_own_remedy(authority: Authority) -> None:
    pem = authority.pem
    says(met_with(authority.server(), pem), "not_a_stream_server")
    wrong = met_with(authority.server("DNS:other.example"), pem)
    says(wrong, "tls", "is for another name", "give the server a certificate for 127.0.0.1")
    expired = met_with(authority.server(end="20200102000000Z"), pem)
    says(expired, "tls_time", "has expired, as this machine's clock says 20", "have it renewed at the server")
    early = met_with(authority.server(start="20980101000000Z"), pem)
    says(early, "tls_time", "is not valid yet, as this machine's clock says 20", "set this machine's clock")
    unknown = met_with(authority.server(), None)
    says(unknown, "tls", "of a CA that this machine does not know", "set `server.ca_file` to its CA")


def test_tls_where_there_is_none() -> None:
    with ForeignServer(http(400)) as server:
        says(met(f"https://{server.authority}"), "tls", "it answers in clear text", "is it http://")
    with ForeignServer(b"") as server:
        says(met(f"https://{server.authority}"), "tls", "ends TLS before it has begun", "check the port")


# -- no answer


def nobody() -> str:
    """Where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{unused.getsockname()[1]}"


def test_nobody_listens() -> None:
    says(met(f"http://{nobody()}"), "unreachable", "(Connection refused)", "whether the server runs")


def test_silence_is_not_waited_for_for_ever(mocker: MockerFixture) -> None:
    mocker.patch("edge_agent.uplink.opening.OPEN_TIMEOUT_SECONDS", 0.2)
    with ForeignServer(None) as server:
        says(by_the_door(f"http://{server.authority}"), "unreachable", "no answer within 0.2 s", "firewalls")


@pytest.mark.parametrize(
    ("error", "has_route", "fault", "part"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Not known"), True, "name_not_resolved", "`server.url`"),
        (socket.gaierror(socket.EAI_AGAIN, "Try again"), True, "name_not_resolved", "no name server tells"),
        (socket.gaierror(socket.EAI_AGAIN, "Try again"), False, "no_network", "`ip route`"),
        (OSError(101, "Network is unreachable"), True, "no_network", "`ip route`"),
        (OSError(113, "No route to host"), False, "unreachable", "No route to host"),
    ],
)  # fmt: skip
def test_a_network_that_leads_nowhere(
    error: OSError,
    has_route: bool,
    fault: str,
    part: str,
    mocker: MockerFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    mocker.patch.object(lost, "has_default_route", return_value=has_route)
    mocker.patch("socket.getaddrinfo", side_effect=error)
    says(met(f"https://{NAMED}"), fault, part)


# -- a proxy of the environment


@contextlib.contextmanager
def proxied(monkeypatch: pytest.MonkeyPatch, address: str) -> Iterator[None]:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, address)
    yield


PROXIES: Final = [
    (http(407), "wants a name and a password", "HTTPS_PROXY"),
    (http(403), f"does not let this agent through to {NAMED}", f"allow CONNECT to {NAMED}"),
    (http(502), f"cannot reach {NAMED}", "NO_PROXY"),
    (b"220 hello\r\n\r\n", "gives no answer", "NO_PROXY"),
    (http(407, version="1.0"), "wants a name and a password", "HTTPS_PROXY"),
]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("case", PROXIES, ids=lambda case: repr(case[0][:16]))
def test_a_proxy_that_does_not_let_through_is_named_without_its_password(
    case: tuple[bytes, str, str], scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, *parts = case
    with ForeignServer(answer) as proxy, proxied(monkeypatch, f"http://me:pass-w0rd@{proxy.authority}"):
        seen, asked = by_the_door(f"{scheme}://{NAMED}"), by_asking(f"{scheme}://{NAMED}")
        assert b"Proxy-Authorization: Basic bWU6cGFzcy13MHJk\r\n" in proxy.requests[0]
        assert b"Proxy-Authorization: Basic bWU6cGFzcy13MHJk\r\n" in proxy.requests[1]
    says(seen, "proxy", f"the proxy http://{proxy.authority} ", *parts)
    assert "pass-w0rd" not in seen.reason + asked.text
    assert asked.fault == "proxy"
    assert answer.startswith(b"220") or asked.text == seen.reason


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxied(monkeypatch, f"http://{nobody()}"):
        says(met(f"http://{NAMED}"), "proxy", "cannot be reached (Connection refused)", "HTTPS_PROXY")


def test_a_proxy_that_hangs(monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture) -> None:
    mocker.patch("edge_agent.uplink.opening.OPEN_TIMEOUT_SECONDS", 0.2)
    with ForeignServer(None) as proxy, proxied(monkeypatch, f"http://{proxy.authority}"):
        says(by_the_door(f"http://{NAMED}"), "proxy", "gives no answer (no answer within 0.2 s)")


def test_a_proxy_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxied(monkeypatch, "socks5h://127.0.0.1:1080"):
        says(by_the_door(f"http://{NAMED}"), "proxy", "cannot be used")
        assert by_asking(f"http://{NAMED}").fault == "proxy"


def test_through_a_proxy_the_server_itself_is_judged(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ForeignServer(own(401, "UNAUTHENTICATED"), tls=authority.server(f"DNS:{NAMED}")) as server:
        host, _, port = server.authority.partition(":")
        opened = b"HTTP/1.1 200 Connection established\r\n\r\n"
        with ForeignServer(opened, tunnels_to=(host, int(port))) as proxy:
            with proxied(monkeypatch, f"http://{proxy.authority}"):
                says(met(f"https://{NAMED}", authority.pem), "refused", ENROL)
            assert proxy.requests[0].startswith(f"CONNECT {NAMED}:443 HTTP/1.1\r\n".encode())
