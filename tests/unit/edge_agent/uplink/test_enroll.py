"""Registration against a real HTTP server that answers what the test says."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from edge_agent.errors import EnrollError
from edge_agent.uplink.asking import MAX_BODY_BYTES
from edge_agent.uplink.enroll import refuse_clear_text, register

TOKEN = "enrol-s3cret"
GOOD = {"agent_id": "van7", "agent_token": "agent-s3cret", "ws_url": "ws://x/ws/agent"}


class Answer:
    """A server with one answer; `requests` holds what it was sent."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, json.loads(content)))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Tests stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"


Serve = Callable[..., Answer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Answer] = []

    def start(status: int, body: object, tls: ssl.SSLContext | None = None, **headers: str) -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = Answer(status, content, headers)
        if tls is not None:
            answer.server.socket = tls.wrap_socket(answer.server.socket, server_side=True)
        Thread(target=answer.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        started.append(answer)
        return answer

    yield start
    for answer in started:
        answer.server.shutdown()
        answer.server.server_close()


@contextmanager
def refused(code: str, *parts: str) -> Iterator[None]:
    with pytest.raises(EnrollError) as caught:
        yield
    assert caught.value.code == code
    assert TOKEN not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_the_token_goes_in_the_body_and_the_identity_comes_back(serve: Serve) -> None:
    answer = serve(201, GOOD)
    response = register(f"ws://{answer.authority}/base/", TOKEN, "van7", version="1.2")
    assert (response.agent_id, response.agent_token) == ("van7", "agent-s3cret")
    (request,) = answer.requests
    assert request == (
        "/base/api/v1/agents/register",
        {"enrolment_token": TOKEN, "agent_id": "van7", "version": "1.2"},
    )


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (401, "TOKEN_INVALID", "new enrolment token"),
        (403, "FORBIDDEN", "allows this agent id"),
        (409, "AGENT_EXISTS", "--agent-id"),
        (429, "TOO_MANY_REQUESTS", "wait a minute"),
        (500, "INTERNAL", "server's log"),
    ],
)
def test_the_servers_refusal_comes_with_a_remedy(serve: Serve, status: int, code: str, remedy: str) -> None:
    answer = serve(status, {"code": code, "message": f"no to {TOKEN}\x1b[2J", "details": {}})
    with refused(code, r"no to [token]\x1b[2J", remedy):
        register(f"http://{answer.authority}", TOKEN, "van7")


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, b"<html>", "NOT_A_STREAM_SERVER"),
        (404, b"x" * (MAX_BODY_BYTES + 1), "NOT_A_STREAM_SERVER"),
        (403, b"<html>", "FIREWALL"),
        (401, b'{"message":"Unauthorized"}', "FIREWALL"),
        (200, b"<html>", "FIREWALL"),
        (200, b"{}", "FIREWALL"),
        (200, b"\xff", "FIREWALL"),
        (200, b"[" * 60_000, "FIREWALL"),
        (200, b'"' + b"x" * MAX_BODY_BYTES, "FIREWALL"),
    ],
)
def test_something_that_is_no_stream_server_is_told(
    serve: Serve, status: int, body: bytes, code: str
) -> None:
    with refused(code, f"HTTP/1.0 {status}"):
        register(f"http://{serve(status, body).authority}", TOKEN, "van7")


@pytest.mark.parametrize(
    ("status", "code"), [(301, "REDIRECTED"), (302, "PORTAL"), (307, "PORTAL"), (308, "REDIRECTED")]
)
def test_the_token_does_not_follow_a_redirect(serve: Serve, status: int, code: str) -> None:
    other = serve(201, GOOD)
    answer = serve(status, b"", Location=f"http://{other.authority}/api/v1/agents/register")
    with refused(code, other.authority):
        register(f"http://{answer.authority}", TOKEN, "van7")
    assert other.requests == []


def test_the_remedy_names_the_options_of_this_command(serve: Serve) -> None:
    answer = serve(301, b"", Location="https://127.0.0.1/api/v1/agents/register")
    with refused("REDIRECTED", 'write `--server "https://127.0.0.1"`'):
        register(f"http://{answer.authority}", TOKEN, "van7")
    with refused("NOT_A_STREAM_SERVER", "check --server, its port"):
        register(f"http://{serve(404, b'').authority}", TOKEN, "van7")


def test_a_server_that_does_not_listen() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with refused("UNREACHABLE", "Connection refused"):
            register(f"http://127.0.0.1:{unused.getsockname()[1]}", TOKEN, "van7")


def test_a_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, refused("UNREACHABLE", "no answer within 0.1 s"):
        register(f"http://127.0.0.1:{silent.getsockname()[1]}", TOKEN, "van7", timeout_seconds=0.1)


def test_tls_where_there_is_none(serve: Serve) -> None:
    with refused("TLS", "http://"):
        register(f"https://{serve(201, GOOD).authority}", TOKEN, "van7")


def test_a_certificate_must_be_trusted(serve: Serve, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl command to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-days", "2", "-keyout", key, "-out", certificate, "-subj", "/CN=test",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    answer = serve(201, GOOD, tls)
    with refused("TLS", "does not know", "--ca-file"):
        register(f"https://{answer.authority}", TOKEN, "van7")
    assert register(f"https://{answer.authority}", TOKEN, "van7", ca_file=certificate).agent_id == "van7"


def test_what_cannot_be_asked_for_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with refused("BAD_URL", "must be like"):
        register("file:///etc/passwd", TOKEN, "van7")
    with refused("BAD_AGENT_ID"):
        register("http://127.0.0.1:1", TOKEN, "Van 7")
    with refused("BAD_CA_FILE"):
        register("https://127.0.0.1:1", TOKEN, "van7", ca_file=tmp_path / "none.pem")


@pytest.mark.parametrize("url", ["http://x.example", "ws://192.168.1.5:8080", "http://a.localhost"])
def test_plain_http_across_a_network_is_refused_and_warned_of_where_it_is_allowed(url: str) -> None:
    with refused("CLEAR_TEXT", "--allow-clear-text"):
        refuse_clear_text(url, allowed=False)
    assert "can read the token" in (refuse_clear_text(url, allowed=True) or "")


@pytest.mark.parametrize(
    "url", ["https://x.example", "http://localhost:1", "http://127.3.2.1", "http://[::1]:80", "no url"]
)
def test_encrypted_or_local_is_neither_refused_nor_warned_of(url: str) -> None:
    assert refuse_clear_text(url, allowed=False) is None
