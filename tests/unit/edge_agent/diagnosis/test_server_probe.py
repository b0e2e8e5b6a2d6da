"""Whether a server can be reached and takes the token: real servers, and networks that no test has."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from threading import Thread

import pytest
from pytest_mock import MockerFixture

from edge_agent.diagnosis import server_probe
from edge_agent.diagnosis.diagnosis import Fact
from edge_agent.diagnosis.server_probe import server_fact
from tests.helpers.http_answers import HttpAnswers, self_signed

TOKEN = "cea_agent_secret"
BEAT = "/api/v1/agents/heartbeat"
HEALTHY = {"/healthz": (200, {"status": "ok"})}


def stated(fact: Fact | None) -> tuple[str, str]:
    assert fact is not None
    assert fact.about == "server"
    assert TOKEN not in fact.text
    return fact.fault, fact.text


def asked(status: int, token: str | None = TOKEN) -> Fact | None:
    """A server that is well and answers an empty heartbeat so."""
    with HttpAnswers({**HEALTHY, BEAT: (status, {})}) as server:
        return server_fact(f"http://{server.authority}", None, token)


# -- the token


def test_a_server_that_refuses_only_the_empty_content_takes_the_token() -> None:
    with HttpAnswers({**HEALTHY, BEAT: (400, {"code": "INVALID"})}) as server:
        assert server_fact(f"ws://{server.authority}", None, TOKEN) is None
        paths = [(one.method, one.path, one.authorization, one.body) for one in server.requests]
    assert paths == [("GET", "/healthz", None, None), ("POST", BEAT, f"Bearer {TOKEN}", {})]


@pytest.mark.parametrize("status", [200, 400, 429])
def test_what_a_good_token_gets(status: int) -> None:
    assert asked(status) is None


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_said_with_the_remedy(status: int) -> None:
    fault, text = stated(asked(status))
    assert fault == "refused"
    assert text.endswith(
        f"refuses this agent's token (HTTP {status}): enrol it again with `edge-agent enroll`"
    )


@pytest.mark.parametrize("status", [404, 405, 500, 502])
def test_what_answers_a_heartbeat_like_that_is_no_stream_server(status: int) -> None:
    fault, text = stated(asked(status))
    assert fault == "not_a_stream_server"
    assert f"answers with HTTP status {status}: check `server.url`, and the proxy" in text


def test_without_a_token_the_server_alone_is_looked_at() -> None:
    with HttpAnswers(HEALTHY) as server:
        assert server_fact(f"http://{server.authority}", None, None) is None
    assert [one.path for one in server.requests] == ["/healthz"]


# -- the server


@pytest.mark.parametrize("status", [301, 404, 503])
def test_a_server_that_is_not_healthy_never_sees_the_token(status: int) -> None:
    with HttpAnswers({"/healthz": (status, {})}) as server:
        fault, _ = stated(server_fact(f"http://{server.authority}", None, TOKEN))
    assert (fault, len(server.requests)) == ("not_a_stream_server", 1)
    assert server.requests[0].authorization is None


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
    with socket.create_server(("127.0.0.1", 0)) as silent:
        fault, text = stated(server_fact(f"http://127.0.0.1:{silent.getsockname()[1]}", None, TOKEN))
    assert fault == "unreachable"
    assert "does not answer within 0.1 s: check firewalls" in text


def test_what_speaks_no_http_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=_speak, args=(listening, b"220 mail.example.com ESMTP\r\n"), daemon=True).start()
        fault, text = stated(server_fact(f"http://127.0.0.1:{listening.getsockname()[1]}", None, TOKEN))
    assert fault == "unreachable"
    assert "(BadStatusLine)" in text


def _speak(listening: socket.socket, content: bytes) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(content)


# -- certificates


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_a_certificate_must_be_trusted(certificate: tuple[Path, ssl.SSLContext]) -> None:
    ca_file, tls = certificate
    with HttpAnswers({**HEALTHY, BEAT: (400, {})}, tls) as server:
        url = f"https://{server.authority}"
        fault, text = stated(server_fact(url, None, TOKEN))
        assert fault == "tls"
        assert "is not trusted (self-signed certificate): set `server.ca_file`" in text
        assert server.requests == []
        assert server_fact(url, ca_file, TOKEN) is None


def test_https_where_there_is_none() -> None:
    with HttpAnswers(HEALTHY) as server:
        fault, text = stated(server_fact(f"https://{server.authority}", None, TOKEN))
    assert fault == "tls"
    assert text.endswith("is it http:// instead of https://?")


@pytest.mark.parametrize(("code", "fault"), [(9, "tls_time"), (10, "tls_time"), (18, "tls")])
def test_a_certificate_out_of_time_may_be_this_machines_clock(
    code: int, fault: str, mocker: MockerFixture
) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "certificate has expired"
    mocker.patch("socket.create_connection", side_effect=error)
    found, text = stated(server_fact("https://127.0.0.1:1", None, TOKEN))
    assert found == fault
    assert "(certificate has expired)" in text
    assert "check this machine's clock" in text


def test_a_ca_file_that_is_none_is_said_before_anybody_is_asked(tmp_path: Path) -> None:
    fault, text = stated(server_fact("https://127.0.0.1:1", tmp_path / "none.pem", TOKEN))
    assert fault == "bad_ca_file"
    assert f"{tmp_path / 'none.pem'} cannot be used" in text


# -- the network

ROUTE_HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
DEFAULT = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
NEIGHBOURS = "eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
ANYWHERE = "0" * 32
IPV6_DEFAULT = f"{ANYWHERE} 00 {ANYWHERE} 00 {ANYWHERE} 00000400 1 0 00000003 eth0\n"
IPV6_NOWHERE = f"{ANYWHERE} 00 {ANYWHERE} 00 {ANYWHERE} ffffffff 1 0 00200200 lo\n"


class Network:
    """The routes of this machine, and what an attempt to reach a name leads to."""

    def __init__(self, directory: Path, mocker: MockerFixture) -> None:
        self._routes = directory / "route", directory / "ipv6_route"
        mocker.patch.object(server_probe, "_ROUTES", self._routes)
        mocker.patch.dict("os.environ", {"no_proxy": "*"})
        self.reached = mocker.patch(
            "socket.getaddrinfo", side_effect=socket.gaierror(-2, "Name or service not known")
        )

    def has(self, *routes: str) -> None:
        for path, text in zip(self._routes, routes, strict=False):
            path.write_text(text)

    def fault(self, url: str = "http://stream.example.com") -> str:
        return stated(server_fact(url, None, TOKEN))[0]


@pytest.fixture
def network(tmp_path: Path, mocker: MockerFixture) -> Network:
    return Network(tmp_path, mocker)


@pytest.mark.parametrize(
    ("routes", "fault"),
    [
        ((ROUTE_HEAD + NEIGHBOURS, ""), "no_network"),
        ((ROUTE_HEAD, IPV6_NOWHERE), "no_network"),
        ((), "no_network"),
        ((ROUTE_HEAD + NEIGHBOURS + DEFAULT, ""), "name_not_resolved"),
        ((ROUTE_HEAD, IPV6_NOWHERE + IPV6_DEFAULT), "name_not_resolved"),
    ],
)
def test_a_name_is_not_to_blame_where_there_is_no_way_to_the_network(
    routes: tuple[str, ...], fault: str, network: Network
) -> None:
    network.has(*routes)
    assert network.fault() == fault


def test_this_machine_itself_needs_no_network(network: Network) -> None:
    assert network.fault("http://stream.localhost") == "name_not_resolved"


def test_a_network_that_is_down_is_said_whatever_the_routes_are(network: Network) -> None:
    network.has(ROUTE_HEAD + DEFAULT)
    network.reached.side_effect = OSError(101, "Network is unreachable")
    assert network.fault() == "no_network"
