"""Whatever comes in: the documented error, the server alive, the next good input works."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import random
import socket
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from can_stream.frames.batches import batch_of
from can_stream.protocol.control import (
    DongleInfo,
    Heartbeat,
    Hello,
    Log,
    encode_control_message,
)
from can_stream.protocol.hop import Envelope, HopEncoder, RangeKind
from can_stream.protocol.lanes_control import LaneHello, LanesHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, encode_frames, encode_gap
from stream_server.access.access import SESSION_COOKIE
from tests.helpers.agents import list_dongle, recorded_lines, registered_agents
from tests.helpers.candump_logs import write_log
from tests.helpers.memory import resident
from tests.helpers.processes import EnrolledAgent, StreamServer, replay_summary

START: Final = "0123456789abcdef"
SECONDS: Final = 20.0
CONTROL_CASES: Final = 150
DATA_CASES: Final = 250
HTTP_CASES: Final = 300
RAW_CASES: Final = 200
_LIMITS: Final = """
[limits]
requests_per_second = 1e6
request_burst = 1000000
failed_authentications_per_minute = 1e6
failed_authentication_burst = 1000000
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamServer]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "server.toml").write_text(_LIMITS)
    with StreamServer(folder / "data", "--config", folder / "server.toml") as running:
        yield running
        assert running.process.is_running
        assert "Traceback" not in running.process.errors


@pytest.fixture(scope="module")
def viewer(server: StreamServer) -> str:
    return server.create_token("admin")


def mutated(chance: random.Random, good: bytes) -> bytes:
    """`good` with something wrong somewhere."""
    data = bytearray(good)
    for _ in range(chance.choice((1, 1, 1, 2, 5, 20))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                del data[at:]
            case 1:
                data[at:at] = chance.randbytes(chance.choice((1, 2, 50)))
            case 2:
                data[at : at + 1] = b"\xff"
            case 3:
                data[at : at + 4] = data[: chance.randrange(9)]
            case 4:
                data[at : at + 1] = chance.choice(
                    (b"-1", b"1e400", b"99999999999999999999", b'""', b"[[", b"null")
                )
            case _:
                data[at : at + 1] = chance.randbytes(1)
    return bytes(data)


def open_socket(server: StreamServer, agent: EnrolledAgent, path: str) -> connect:
    headers = {"Authorization": f"Bearer {agent.token_file.read_text().strip()}"}
    address = f"ws://127.0.0.1:{server.port}{path}"
    return connect(address, additional_headers=headers, compression=None, max_size=None, proxy=None)


def hello_of(agent: EnrolledAgent) -> str:
    dongle = DongleInfo(f"{agent.agent_id}-can0", "log", "can0")
    return encode_control_message(Hello(agent.agent_id, START, "boot", 1, 1, False, "0", [dongle]))


async def fate(connection: ClientConnection) -> tuple[str | None, int | None]:
    """(code of the error that was said, close code) once the server has closed."""
    code = None
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                message = await connection.recv()
                if isinstance(message, str) and (said := json.loads(message))["type"] == "error":
                    assert said["message"]
                    code = said["code"]
    except ConnectionClosed as closed:
        return code, None if closed.rcvd is None else closed.rcvd.code


def assert_documented(code: str | None, close_code: int | None) -> None:
    assert close_code in (1000, 1003, 1007, 1008, 1009, 4001), (code, close_code)
    if close_code in (1003, 1008):
        assert code in ("PROTOCOL_ERROR", "DONGLE_CONFLICT", "DONGLE_NOT_FOUND", "NOT_SUPPORTED")


def still_works(server: StreamServer, viewer: str, agent: EnrolledAgent, folder: Path) -> None:
    """A good replay by this very agent arrives whole."""
    log = write_log(folder / "good.log", 500, 1_000, "good")
    with agent.replay(log, options=["--speed", "max"]) as process:
        assert replay_summary(process).lost == 0
    lines = recorded_lines(server, f"{agent.agent_id}-good", viewer)
    assert lines[-500:] == log.read_text().splitlines()


async def test_broken_control_messages_are_refused_and_the_next_hello_is_welcome(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    chance = random.Random(1)
    agent = EnrolledAgent(server, "control", tmp_path)
    hello = hello_of(agent)
    later = [encode_control_message(Heartbeat(1, 1, False)), encode_control_message(Log(1, "info", "x", "y"))]
    for _ in range(CONTROL_CASES):
        async with open_socket(server, agent, "/ws/agent") as connection:
            bad = mutated(chance, chance.choice([hello, *later]).encode())
            with contextlib.suppress(ConnectionClosed):
                if chance.random() < 0.5:
                    await connection.send(hello)
                text = bad.decode(errors="replace") if chance.random() < 0.9 else None
                await connection.send(bad if text is None else text)
                # Nothing that is left over keeps a connection: a second hello is never right.
                await connection.send(hello)
                await connection.send(hello)
            assert_documented(*await fate(connection))
    async with open_socket(server, agent, "/ws/agent") as connection:
        await connection.send(hello)
        assert json.loads(await connection.recv())["type"] == "welcome"
    await asyncio.to_thread(still_works, server, viewer, agent, tmp_path)


def good_packet(seq: int) -> bytes:
    number = PacketNumber(START, seq)
    rows = [(10**18 + i * 1000, i % 5, 0, 3, bytes((i % 256, seq % 256, 7))) for i in range(30)]
    if seq % 7 == 0:
        return encode_gap(number, Gap(GapReason.SOURCE, seq, 3, 1, 2))
    return encode_frames(number, batch_of(rows), 1000)


def bad_data(chance: random.Random, seq: int) -> bytes:
    """A data message that is wrong: in its packet, its envelope, or its compression."""
    packet = good_packet(seq)
    match chance.randrange(4):
        case 0 | 1:
            envelope = Envelope(0, RangeKind.LIVE, mutated(chance, packet))
            return HopEncoder().encode(envelope)
        case 2:
            index = chance.choice((1, 4095))
            return HopEncoder().encode(Envelope(index, RangeKind.BACKLOG, packet))
        case _:
            return mutated(chance, HopEncoder().encode(Envelope(0, RangeKind.LIVE, packet)))


async def test_broken_lanes_envelopes_and_packets_are_refused_and_cost_nobody_else(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    chance = random.Random(2)
    agent = EnrolledAgent(server, "data", tmp_path)
    async with open_socket(server, agent, "/ws/agent") as control:
        await control.send(hello_of(agent))
        await control.recv()
        for _ in range(DATA_CASES):
            async with open_socket(server, agent, "/ws/data") as connection:
                lanes = encode_control_message(LanesHello(START, [LaneHello("data-can0", "frames", 1, [])]))
                with contextlib.suppress(ConnectionClosed):
                    if chance.random() < 0.2:
                        await connection.send(mutated(chance, lanes.encode()).decode(errors="replace"))
                    else:
                        await connection.send(lanes)
                        taken = json.loads(await connection.recv()).get("taken_through", [0])
                        await connection.send(bad_data(chance, taken[0] + 1))
                    await connection.send("a text message is never right here")
                assert_documented(*await fate(connection))
        await control.send(encode_control_message(Heartbeat(1, 1, False)))
        await (await control.ping())
    await asyncio.to_thread(still_works, server, viewer, agent, tmp_path)


@pytest.mark.parametrize("size", [2_000_000, 1_000_000_000])
async def test_a_deflate_bomb_ends_its_connection_and_takes_no_memory(
    server: StreamServer, viewer: str, tmp_path: Path, size: int
) -> None:
    agent = EnrolledAgent(server, f"bomb{size}", tmp_path)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [squeeze.compress(bytes(1_000_000)) for _ in range(size // 1_000_000)]
    bomb = (b"".join(parts) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4][:1_048_000]
    before = resident(server.process.pid).now
    async with open_socket(server, agent, "/ws/agent") as control:
        await control.send(hello_of(agent))
        await control.recv()
        async with open_socket(server, agent, "/ws/data") as connection:
            lane = LaneHello(f"{agent.agent_id}-can0", "frames", 1, [])
            await connection.send(encode_control_message(LanesHello(START, [lane])))
            await connection.recv()
            await (await connection.ping())
            await connection.send(bomb)
            assert await fate(connection) == ("PROTOCOL_ERROR", 1008)
    assert resident(server.process.pid).now < before + 40_000_000
    await asyncio.to_thread(still_works, server, viewer, agent, tmp_path)


PATHS: Final = (
    "/api/v1/agents", "/api/v1/agents/register", "/api/v1/agents/heartbeat", "/api/v1/agents/devices/report",
    "/api/v1/dongles/http-can0", "/api/v1/dongles/http-can0/frames?from=2025-01-01&format=jsonl",
    "/api/v1/streams/dongles/http-can0/sampling", "/api/v1/audit?limit=1&before=2", "/api/v1/auth/link",
    "/api/v1/auth/logout", "/api/v1/auth/me", "/api/v1/auth/csrf", "/api/v1/openapi.json", "/metrics",
    "/readyz", "/ws/agent", "/ws/data", "/static/console.js", "/api/v1/enrolments",
    "/api/v1/enrolments/99/revoke", "/api/v1/agents/nobody/disable",
)  # fmt: skip
BODIES: Final = (
    b"", b"{}", b"[" * 50_000, b'{"enrolment_token":"x","agent_id":"y"}', b'{"max_frames_per_second":5}',
    b'{"token":"cea_link_x"}', b'{"dongles":[]}', b"\xff\xfe", b'{"a":' * 10_000,
)  # fmt: skip


def test_odd_requests_get_a_documented_answer(server: StreamServer, viewer: str, tmp_path: Path) -> None:
    chance = random.Random(3)
    agent = EnrolledAgent(server, "http", tmp_path)
    list_dongle(server, agent)
    tokens = [
        viewer,
        agent.token_file.read_text().strip(),
        "",
        "cea_api_" + "x" * 43,
        "x" * 7_000,
        "\xe9\xff",
    ]
    for _ in range(HTTP_CASES):
        path = chance.choice(PATHS)
        if chance.random() < 0.5:
            path = "/" + mutated(chance, path.encode()).decode("latin-1")[1:]
        path = "".join(c if "!" <= c <= "~" else f"%{ord(c):02X}" for c in path)
        method = chance.choice(("GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"))
        headers = {
            "Authorization": chance.choice(("Bearer ", "bearer", "Basic ")) + chance.choice(tokens),
            "Cookie": f"{SESSION_COOKIE}=" + mutated(chance, b"cea_session_abc").hex(),
            "X-CSRF-Token": mutated(chance, b"abc").hex(),
            "Content-Type": chance.choice(("application/json", "text/plain", "")),
        }
        body = chance.choice(BODIES)
        status, answer = ask(server, method, path, headers, body)
        assert status < 500, (status, method, path, answer)
        if status >= 400 and method != "HEAD":
            assert {"code", "message", "details"} <= json.loads(answer).keys(), (status, method, path, answer)
    still_works(server, viewer, agent, tmp_path)


def ask(
    server: StreamServer, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()


MARK: Final = b"tell-tale"
HEAD: Final = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
LINK: Final = b"POST /api/v1/auth/link" + HEAD
# name -> what is sent, the status and code of the answer
NO_HTTP: Final = {
    "version": (b"GET /tell-tale HTTP/9.9\r\n\r\n", 400, "BAD_REQUEST"),
    "http2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "BAD_REQUEST"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400, "BAD_REQUEST"),
    "method": (b"<tell-tale> /" + HEAD + b"\r\n", 400, "BAD_REQUEST"),
    "length": (b"GET /healthz" + HEAD + b"Content-Length: -5 tell-tale\r\n\r\n", 400, "BAD_REQUEST"),
    "chunked": (LINK + b"Transfer-Encoding: chunked\r\n\r\nZZ tell-tale\r\n", 400, "BAD_REQUEST"),
    "gzip": (
        LINK + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\ntell-tale",
        415,
        "UNSUPPORTED_MEDIA_TYPE",
    ),
    "header": (b"GET /healthz" + HEAD + b"tell-tale\r\n\r\n", 400, "BAD_REQUEST"),
    "cookie": (b"GET /healthz" + HEAD + b"Cookie: \x01tell-tale\r\n\r\n", 400, "BAD_REQUEST"),
    "long cookie": (
        b"GET /healthz" + HEAD + b"Cookie: a=" + MARK * 1_000 + b"\r\n\r\n",
        431,
        "HEADER_FIELDS_TOO_LARGE",
    ),
    "long name": (
        b"GET /healthz" + HEAD + MARK * 1_000 + b": x\r\n\r\n",
        431,
        "HEADER_FIELDS_TOO_LARGE",
    ),
    "many headers": (
        b"GET /healthz" + HEAD + b"X: tell-tale\r\n" * 200 + b"\r\n",
        431,
        "HEADER_FIELDS_TOO_LARGE",
    ),
    "path": (b"GET /" + MARK * 1_000 + HEAD + b"\r\n", 414, "URI_TOO_LONG"),
    "address": (b"GET http://[::tell-tale/" + HEAD + b"\r\n", 400, "BAD_REQUEST"),
    "expect": (b"GET /healthz" + HEAD + b"Expect: tell-tale\r\n\r\n", 417, "EXPECTATION_FAILED"),
    "bytes": (bytes(range(256)) * 50, 400, "BAD_REQUEST"),
}


@pytest.mark.parametrize("name", NO_HTTP)
def test_what_is_no_http_gets_our_error_and_nothing_of_itself(server: StreamServer, name: str) -> None:
    sent, status, code = NO_HTTP[name]
    answer = raw_answer(server, sent, SECONDS)
    assert answer is not None
    response, body = answer
    assert response.status == status
    assert json.loads(body)["code"] == code
    assert response.headers["Content-Type"].startswith("application/json")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert MARK not in body + response.headers.as_bytes()
    assert ask(server, "GET", "/healthz", {}, b"")[0] == 200


def test_broken_requests_get_our_errors_and_nothing_of_themselves(server: StreamServer) -> None:
    chance = random.Random(4)
    good = (
        b"POST /api/v1/auth/link" + HEAD + b"Cookie: stream_server_session=tell-tale; b=tell-tale\r\n"
        b"Authorization: Bearer tell-tale\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
        b'{"token":"tell-tale"}'
    )
    answered = 0
    for _ in range(RAW_CASES):
        # What follows ends most that would otherwise be waited for.
        answer = raw_answer(server, mutated(chance, good) + b"\r\n\r\n" + b" " * 300, 1.0)
        if answer is not None:
            answered += 1
            response, body = answer
            assert 400 <= response.status < 500, body
            assert json.loads(body).keys() == {"code", "message", "details"}
            assert MARK not in body + response.headers.as_bytes()
    assert answered > RAW_CASES / 2


def raw_answer(
    server: StreamServer, sent: bytes, seconds: float
) -> tuple[http.client.HTTPResponse, bytes] | None:
    """The first answer, None where the server waits for more."""
    with socket.create_connection(("127.0.0.1", server.port), seconds) as connection:
        connection.sendall(sent)
        response = http.client.HTTPResponse(connection)
        try:
            response.begin()
        except TimeoutError:
            return None
        return response, response.read()


@pytest.mark.parametrize(
    "last_id", ["", "0", "-1", "99999999999999999999", "9" * 400, "12a", "1e3", "\xb2", " 5", "0x10", "null"]
)
def test_any_last_event_id_is_a_reset_or_the_present(
    server: StreamServer, viewer: str, tmp_path: Path, last_id: str
) -> None:
    (agent,) = registered_agents(server, [f"resume-{uuid.uuid4().hex}"], tmp_path)
    dongle_id = list_dongle(server, agent)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {viewer}", "Last-Event-ID": last_id}
        connection.request("GET", f"/api/v1/streams/dongles/{dongle_id}/console", headers=headers)
        response = connection.getresponse()
        assert response.status == 200
        events = []
        while "presence" not in events:
            line = response.readline().decode()
            if line.startswith("event: "):
                events.append(line.removeprefix("event: ").rstrip())
        assert events == (["presence"] if last_id == "" else ["stream_reset", "presence"])
