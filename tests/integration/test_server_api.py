"""The server over real sockets: registration, control messages, presence, access, errors, streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy

from stream_server import credentials, data_directory
from stream_server.app import ROUTES, RunningServer, running_server
from stream_server.auth import PREFIXES, Role
from stream_server.config import LimitsSection, ServerConfig, ServerSection
from stream_server.errors import StorageError
from wire_protocol.messages import MAX_MESSAGE_BYTES

API = "/api/v1"
HELLO = {
    "type": "hello",
    "agent_id": "van7",
    "start_id": "0123456789abcdef",
    "boot_id": "boot",
    "monotonic_ns": 1,
    "wall_ns": 2,
    "clock_synchronised": True,
    "version": "1.2.3",
    "dongles": [{"dongle_id": "van7-can0", "interface": "socketcan", "channel": "can0", "bitrate": 500000}],
}
HEARTBEAT = {"type": "heartbeat", "monotonic_ns": 1, "wall_ns": 2, "clock_synchronised": True}
OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/"),
    ("GET", "/static/{name}"),
    ("POST", f"{API}/auth/link"),
    ("GET", f"{API}/auth/csrf"),
    ("POST", f"{API}/agents/register"),
}


class Api:
    """A client of one server, with the credential it was made with."""

    def __init__(self, server: RunningServer, session: aiohttp.ClientSession, token: str | None) -> None:
        self.server = server
        self.session = session
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    async def ask(
        self, method: str, path: str, body: Any = None, **options: Any
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        headers = self.headers | options.pop("headers", {})
        if "data" not in options:
            options["json"] = body if "body" not in options else options.pop("body")
        url = f"{self.server.url}{path}"
        async with self.session.request(method, url, headers=headers, **options) as response:
            content = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(content) if is_json else content, response

    async def get(self, path: str) -> Any:
        status, body, _ = await self.ask("GET", path)
        assert status == 200, body
        return body

    async def control(self) -> aiohttp.ClientWebSocketResponse:
        return await self.session.ws_connect(f"{self.server.url}/ws/agent", headers=self.headers)

    async def hello(self, **changes: Any) -> aiohttp.ClientWebSocketResponse:
        websocket = await self.control()
        await websocket.send_json(HELLO | changes)
        welcome = await websocket.receive_json(timeout=10)
        assert welcome["type"] == "welcome"
        return websocket


class Server:
    """One server in this process, and clients of every kind."""

    def __init__(self, running: RunningServer, session: aiohttp.ClientSession) -> None:
        self.running = running
        self.session = session

    @property
    def services(self) -> Any:
        return self.running.services

    def api(self, token: str | None = None) -> Api:
        return Api(self.running, self.session, token)

    async def user(self, role: Role) -> Api:
        now_ns = time.time_ns()
        return self.api(
            await self.services.database.write(
                lambda connection: credentials.create_api_token(connection, role, "", now_ns, "test")
            )
        )

    async def enrolment(self, agent_id: str | None = None, uses: int = 1) -> str:
        now_ns = time.time_ns()
        secret: str = await self.services.database.write(
            lambda connection: credentials.create_enrolment(connection, agent_id, uses, now_ns, "test")
        )
        return secret

    async def agent(self, agent_id: str = "van7") -> Api:
        body = {"enrolment_token": await self.enrolment(), "agent_id": agent_id}
        status, answer, _ = await self.api().ask("POST", f"{API}/agents/register", body)
        assert status == 201, answer
        return self.api(answer["agent_token"])


def config(**limits: Any) -> ServerConfig:
    return ServerConfig(server=ServerSection(port=0), limits=LimitsSection(**limits))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    directory = data_directory.prepare(tmp_path)
    async with running_server(config(), directory) as running, aiohttp.ClientSession() as session:
        yield Server(running, session)


async def closing(websocket: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str]:
    """The close code and reason, after whatever messages come before."""
    async with asyncio.timeout(10):
        while True:
            message = await websocket.receive()
            if message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}:
                return websocket.close_code, str(message.extra or "")


async def eventually(check: Any) -> Any:
    async with asyncio.timeout(10):
        while not (value := await check()):  # noqa: ASYNC110 -- the server's answer sets no Event here
            await asyncio.sleep(0.01)
        return value


# Registration and identity


async def test_an_enrolment_token_makes_an_agent(server: Server) -> None:
    body = {"enrolment_token": await server.enrolment(), "agent_id": "van7", "version": "1.0"}
    status, answer, _ = await server.api().ask("POST", f"{API}/agents/register", body)
    assert status == 201
    assert answer["agent_id"] == "van7"
    assert answer["ws_url"] == server.running.url.replace("http", "ws", 1)
    assert answer["agent_token"].startswith(PREFIXES["agent"])
    stored = (Path(server.services.database.path).parent).glob("stream-server.sqlite3*")
    assert not any(answer["agent_token"].encode() in file.read_bytes() for file in stored)


async def test_an_enrolment_token_is_used_up_unknown_or_somebody_elses(server: Server) -> None:
    register = f"{API}/agents/register"
    once = await server.enrolment()
    named = await server.enrolment("van9")
    cases = [
        ({"enrolment_token": once, "agent_id": "van1"}, 201, None),
        ({"enrolment_token": once, "agent_id": "van2"}, 403, "ENROLMENT_USED"),
        ({"enrolment_token": "guess", "agent_id": "van3"}, 401, "ENROLMENT_UNKNOWN"),
        ({"enrolment_token": named, "agent_id": "van4"}, 403, "ENROLMENT_FOR_OTHER_AGENT"),
        ({"enrolment_token": named, "agent_id": "Van 9"}, 400, "BAD_REQUEST"),
        ({"enrolment_token": named, "agent_id": "van9"}, 201, None),
    ]
    for body, expected, code in cases:
        status, answer, _ = await server.api().ask("POST", register, body)
        assert (status, answer.get("code")) == (expected, code), answer


async def test_an_existing_agent_is_409_unless_the_token_names_it(server: Server) -> None:
    old = await server.agent()
    viewer = await server.user("viewer")
    websocket = await old.hello()
    body = {"enrolment_token": await server.enrolment(), "agent_id": "van7"}
    status, answer, _ = await server.api().ask("POST", f"{API}/agents/register", body)
    assert (status, answer["code"]) == (409, "AGENT_EXISTS")
    assert (await old.ask("POST", f"{API}/agents/heartbeat", HEARTBEAT))[0] == 200
    body["enrolment_token"] = await server.enrolment("van7")
    status, answer, _ = await server.api().ask("POST", f"{API}/agents/register", body)
    assert status == 201
    code, reason = await closing(websocket)
    assert code == 4002
    assert "enrolled again" in reason
    assert (await old.ask("POST", f"{API}/agents/heartbeat", HEARTBEAT))[0] == 401
    assert (await viewer.get(f"{API}/agents/van7"))["dongles"] == ["van7-can0"]


async def test_two_uses_register_two_agents(server: Server) -> None:
    token = await server.enrolment(uses=2)
    for agent_id, expected in (("a", 201), ("b", 201), ("c", 403)):
        body = {"enrolment_token": token, "agent_id": agent_id}
        assert (await server.api().ask("POST", f"{API}/agents/register", body))[0] == expected


# Control messages


async def test_hello_fills_the_registry_and_brings_the_dongle_online(server: Server) -> None:
    agent, viewer = await server.agent(), await server.user("viewer")
    websocket = await agent.hello()
    (seen,) = (await viewer.get(f"{API}/agents"))["agents"]
    assert (seen["agent_id"], seen["online"], seen["version"]) == ("van7", True, "1.2.3")
    assert seen["start_id"] == HELLO["start_id"]
    dongle = await viewer.get(f"{API}/dongles/van7-can0")
    assert (dongle["interface"], dongle["channel"], dongle["bitrate"]) == ("socketcan", "can0", 500000)
    assert dongle["presence"]["online"]
    assert dongle["presence"]["clock_synchronised"]
    assert dongle["recording"] == {"packets": 0, "frames": 0, "deleted_packets": 0, "deleted_frames": 0}
    await websocket.send_json({"type": "devices_report", "dongles": []})

    async def unlisted() -> bool:
        view = await viewer.get(f"{API}/dongles/van7-can0")
        return not view["listed"] and not view["presence"]["online"]

    await eventually(unlisted)


async def test_services_replace_each_other_and_survive_a_restart(tmp_path: Path) -> None:
    directory = data_directory.prepare(tmp_path)
    service = {
        "service_id": "van7/uplink",
        "agent_service_id": "uplink",
        "label": "Uplink",
        "service_type": "uplink",
        "status_code": 1,
        "status": "DEGRADED",
        "message": "no network, check the modem",
        "last_seen": "2026-01-01T00:00:00Z",
        "metrics": {"lost": 0},
    }
    async with running_server(config(), directory) as running, aiohttp.ClientSession() as session:
        server = Server(running, session)
        agent, viewer = await server.agent(), await server.user("viewer")
        websocket = await agent.hello()
        for changed in (service | {"status_code": 2}, service):
            await websocket.send_json({"type": "status", "services": [changed]})
        await websocket.send_json(HEARTBEAT)

        async def stored() -> bool:
            answer = await viewer.get(f"{API}/agents/van7/services")
            return bool(answer["services"] == [service])

        await eventually(stored)
    async with running_server(config(), directory) as running, aiohttp.ClientSession() as session:
        viewer = await Server(running, session).user("viewer")
        view = await viewer.get(f"{API}/agents/van7")
        assert view["services"] == [service]
        assert not view["online"]
        assert view["last_seen"] is not None


@pytest.mark.parametrize(
    ("said", "close_code", "code"),
    [
        ("not json", 1008, "PROTOCOL_ERROR"),
        ('{"type":"heartbeat"}', 1008, "PROTOCOL_ERROR"),
        (b"\x00\x01", 1003, "PROTOCOL_ERROR"),
        (json.dumps(HEARTBEAT), 1008, "PROTOCOL_ERROR"),
        (json.dumps(HELLO | {"agent_id": "van8"}), 1008, "PROTOCOL_ERROR"),
        (json.dumps(HELLO | {"protocol": 99}), 1008, "PROTOCOL_ERROR"),
        ("[" * 100_000, 1008, "PROTOCOL_ERROR"),
        ("x" * MAX_MESSAGE_BYTES, 1008, "PROTOCOL_ERROR"),
    ],
)
async def test_a_bad_first_message_is_named_and_the_next_good_one_works(
    server: Server, said: str | bytes, close_code: int, code: str
) -> None:
    agent = await server.agent()
    websocket = await agent.control()
    await (websocket.send_bytes(said) if isinstance(said, bytes) else websocket.send_str(said))
    error = await websocket.receive_json(timeout=10)
    assert (error["type"], error["code"]) == ("error", code)
    assert error["message"]
    assert (await closing(websocket))[0] == close_code
    await (await agent.hello()).close()
    text = server.services.metrics.exposition().decode()
    assert 'stream_server_protocol_errors_total{endpoint="control"} 1.0' in text


async def test_an_oversized_message_ends_only_its_connection(server: Server) -> None:
    agent = await server.agent()
    websocket = await agent.hello()
    await websocket.send_str("x" * (MAX_MESSAGE_BYTES + 1))
    assert (await closing(websocket))[0] == 1009
    await (await agent.hello()).close()
    text = server.services.metrics.exposition().decode()
    assert 'stream_server_protocol_errors_total{endpoint="control"} 1.0' in text


async def test_what_later_versions_speak_is_refused_without_closing(server: Server) -> None:
    websocket = await (await server.agent()).hello()
    for message in (
        {"type": "signal_table", "hash": "0" * 32, "table": ""},
        {"type": "command_status", "command_id": "1", "status": "done"},
    ):
        await websocket.send_json(message)
        assert (await websocket.receive_json(timeout=10))["code"] == "NOT_SUPPORTED"
    assert not websocket.closed


async def test_the_newest_connection_wins_and_three_swaps_are_a_duplicate_identity(server: Server) -> None:
    agent, viewer, admin = await server.agent(), await server.user("viewer"), await server.user("admin")
    older = await agent.hello()
    events = await listen(viewer, "van7-can0")
    for _ in range(3):
        newer = await agent.hello()
        code, reason = await closing(older)
        assert code == 4001
        assert "newer" in reason
        older = newer
    await newer.send_json(HEARTBEAT)
    log = await next_event(events, "log")
    assert "duplicate identity" in log["message"]
    records = (await admin.get(f"{API}/audit"))["records"]
    assert "agent.duplicate_identity" in {record["action"] for record in records}
    view = await viewer.get(f"{API}/agents/van7")
    assert view["online"]


async def test_a_dongle_belongs_to_the_agent_that_listed_it_first(server: Server) -> None:
    owner, thief, admin = await server.agent(), await server.agent("van8"), await server.user("admin")
    await owner.hello()
    websocket = await thief.control()
    await websocket.send_json(HELLO | {"agent_id": "van8"})
    error = await websocket.receive_json(timeout=10)
    assert error["code"] == "DONGLE_CONFLICT"
    assert "van7-can0" in error["message"]
    code, reason = await closing(websocket)
    assert code == 1008
    assert "DONGLE_CONFLICT" in reason
    assert (await admin.get(f"{API}/dongles/van7-can0"))["agent_id"] == "van7"
    records = (await admin.get(f"{API}/audit"))["records"]
    assert ("dongle.conflict", "dongle:van7-can0") in {(r["action"], r["subject"]) for r in records}
    report = {"dongles": HELLO["dongles"]}
    status, body, _ = await thief.ask("POST", f"{API}/agents/devices/report", report)
    assert (status, body["code"]) == (409, "DONGLE_CONFLICT")


async def test_an_agent_without_a_websocket_reports_over_http(server: Server) -> None:
    agent, viewer = await server.agent(), await server.user("viewer")
    assert (await agent.ask("POST", f"{API}/agents/devices/report", {"dongles": HELLO["dongles"]}))[0] == 200
    assert (await agent.ask("POST", f"{API}/agents/heartbeat", HEARTBEAT))[0] == 200
    dongle = await viewer.get(f"{API}/dongles/van7-can0")
    assert dongle["presence"]["online"]
    assert dongle["presence"]["reason"] == "heartbeat"


# Consoles


async def listen(viewer: Api, dongle_id: str) -> aiohttp.ClientResponse:
    url = f"{viewer.server.url}{API}/streams/dongles/{dongle_id}/console"
    response = await viewer.session.get(url, headers=viewer.headers)
    assert response.status == 200, await response.text()
    return response


async def next_event(response: aiohttp.ClientResponse, wanted: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        event = ""
        async for line in response.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "data" and event == wanted:
                decoded: dict[str, Any] = json.loads(value)
                return decoded
    raise AssertionError(f"the stream ended before a {wanted} came")


async def test_the_console_tells_presence_logs_and_discoveries(server: Server) -> None:
    agent, viewer = await server.agent(), await server.user("viewer")
    websocket = await agent.hello()
    events = await listen(viewer, "van7-can0")
    presence = await next_event(events, "presence")
    assert (presence["online"], presence["agent_id"], presence["reason"]) == (True, "van7", "connected")
    assert presence["clock_synchronised"] is True
    said = {"level": "warning", "source": "can0", "message": "bus-off", "details": {"count": 3}}
    await websocket.send_json({"type": "log", "wall_ns": 1_700_000_000_000_000_000, **said})
    log = await next_event(events, "log")
    assert {name: log[name] for name in said} == said
    assert log["ts"] == "2023-11-14T22:13:20.000000Z"
    found = {"type": "discovery", "wall_ns": 1, "kind": "NewId", "slug": "7e8", "dongle_id": "van7-can0"}
    await websocket.send_json(found)
    log = await next_event(events, "log")
    assert (log["level"], log["source"], log["message"]) == ("info", "discovery", "NewId 7e8")
    assert headers_say_stream(events)


def headers_say_stream(response: aiohttp.ClientResponse) -> bool:
    return (
        response.content_type == "text/event-stream"
        and response.headers["X-Content-Type-Options"] == "nosniff"
        and response.headers["Cache-Control"] == "no-cache"
    )


async def test_a_log_about_somebody_elses_dongle_is_refused(server: Server) -> None:
    await (await server.agent()).hello()
    websocket = await (await server.agent("van8")).hello(agent_id="van8", dongles=[])
    log = {"type": "log", "wall_ns": 1, "level": "info", "source": "x", "message": "y"}
    await websocket.send_json(log | {"dongle_id": "van7-can0"})
    assert (await websocket.receive_json(timeout=10))["code"] == "PROTOCOL_ERROR"
    assert (await closing(websocket))[0] == 1008


async def test_sampling_is_set_by_operators_applied_and_kept(tmp_path: Path) -> None:
    directory = data_directory.prepare(tmp_path)
    path = f"{API}/streams/dongles/van7-can0/sampling"
    async with running_server(config(), directory) as running, aiohttp.ClientSession() as session:
        server = Server(running, session)
        viewer, operator = await server.user("viewer"), await server.user("operator")
        assert (await viewer.ask("GET", path))[0] == 404
        await (await server.agent()).hello()
        assert await viewer.get(path) == {"max_frames_per_second": 200}
        assert (await viewer.ask("PUT", path, {"max_frames_per_second": 5}))[0] == 403
        for bad in (0, 100_001, "5", 1.5):
            assert (await operator.ask("PUT", path, {"max_frames_per_second": bad}))[0] == 400
        assert (await operator.ask("PUT", path, {}))[0] == 400
        assert (await operator.ask("PUT", path, {"max_frames_per_second": 5}))[0] == 200
        assert running.services.fleet.stream("van7-can0").max_frames_per_second == 5
        assert (await operator.ask("PUT", path, {"max_frames_per_second": None}))[0] == 200
        assert running.services.fleet.stream("van7-can0").max_frames_per_second is None
    async with running_server(config(), directory) as running, aiohttp.ClientSession() as session:
        viewer = await Server(running, session).user("viewer")
        assert await viewer.get(path) == {"max_frames_per_second": None}


async def test_streams_per_credential_are_limited_and_given_back(tmp_path: Path) -> None:
    directory = data_directory.prepare(tmp_path)
    async with (
        running_server(config(streams_per_credential=2), directory) as running,
        aiohttp.ClientSession() as session,
    ):
        server = Server(running, session)
        await (await server.agent()).hello()
        one, other = await server.user("viewer"), await server.user("viewer")
        path = f"{API}/streams/dongles/van7-can0/console"
        first, _second = await listen(one, "van7-can0"), await listen(one, "van7-can0")
        status, body, response = await one.ask("GET", path)
        assert (status, body["code"]) == (429, "TOO_MANY_STREAMS")
        assert int(response.headers["Retry-After"]) >= 1
        await listen(other, "van7-can0")
        first.close()

        async def free() -> bool:
            async with session.get(f"{running.url}{path}", headers=one.headers) as again:
                return again.status == 200

        await eventually(free)


async def test_a_revoked_token_loses_its_open_streams(server: Server) -> None:
    await (await server.agent()).hello()
    viewer = await server.user("viewer")
    events = await listen(viewer, "van7-can0")
    who = await viewer.get(f"{API}/auth/me")
    token_id = int(who["subject"].removeprefix("token:"))
    await server.services.database.write(
        lambda connection: credentials.revoke_api_token(connection, token_id, 1, "test")
    )
    assert (await viewer.ask("GET", f"{API}/auth/me"))[0] == 401
    await server.services.access.tidy()
    with pytest.raises((aiohttp.ClientPayloadError, AssertionError)):
        await next_event(events, "never")


# Access


def registered_routes(server: Server) -> set[tuple[str, str]]:
    return {
        (route.method, route.resource.canonical)
        for route in server.running.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }


async def test_every_route_but_the_open_ones_needs_a_credential(server: Server) -> None:
    registered = registered_routes(server)
    assert {(route.method, route.path) for route in ROUTES} < registered
    assert registered > OPEN
    for method, path in sorted(registered - OPEN):
        status, body, response = await server.api().ask(method, path.replace("{", "").replace("}", ""))
        assert (status, body["code"]) == (401, "UNAUTHENTICATED"), path
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_every_route_is_in_openapi_with_every_reference_defined(server: Server) -> None:
    document = await (await server.user("viewer")).get(f"{API}/openapi.json")
    described = {
        (method.upper(), path) for path, operations in document["paths"].items() for method in operations
    }
    assert described == registered_routes(server)
    assert document["openapi"].startswith("3.1")
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert references == set(document["components"]["schemas"])
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)


@pytest.mark.parametrize(
    "header",
    [
        "Bearer nonsense",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer cea_api_\u00e9",
        "Bearer cea_session_x",
        "x" * 4000,
    ],
)
async def test_a_void_credential_is_401(server: Server, header: str) -> None:
    status, body, _ = await server.api().ask("GET", f"{API}/agents", headers={"Authorization": header})
    assert (status, body["code"]) == (401, "UNAUTHENTICATED")


async def test_each_role_may_do_its_own(server: Server) -> None:
    agent = await server.agent()
    viewer, operator, admin = [await server.user(role) for role in ("viewer", "operator", "admin")]
    asked = {
        "viewer": f"{API}/dongles",
        "admin": f"{API}/audit",
    }
    allowed = {
        (name, needed): (await api.ask("GET", path))[0]
        for name, api in {"agent": agent, "viewer": viewer, "operator": operator, "admin": admin}.items()
        for needed, path in asked.items()
    }
    assert allowed == {
        ("agent", "viewer"): 403,
        ("agent", "admin"): 403,
        ("viewer", "viewer"): 200,
        ("viewer", "admin"): 403,
        ("operator", "viewer"): 200,
        ("operator", "admin"): 403,
        ("admin", "viewer"): 200,
        ("admin", "admin"): 200,
    }
    assert (await admin.ask("POST", f"{API}/agents/heartbeat", HEARTBEAT))[0] == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await server.api().control()
    assert refused.value.status == 401


async def new_link(server: Server) -> str:
    now_ns = time.time_ns()
    secret: str = await server.services.database.write(
        lambda connection: credentials.create_admin_link(connection, now_ns, "test")
    )
    return secret


async def test_a_link_opens_one_session_whose_unsafe_requests_need_csrf(server: Server) -> None:
    api = server.api()
    token = await new_link(server)
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        page = Api(server.running, browser, None)
        assert await page.get(f"{API}/auth/csrf") == {"csrf_token": None}
        status, body, response = await page.ask("POST", f"{API}/auth/link", {"token": token})
        assert status == 200
        cookie = response.headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie.split("; ")
        me = await page.get(f"{API}/auth/me")
        assert (me["role"], me["kind"], me["csrf_token"]) == ("admin", "session", body["csrf_token"])
        assert await page.get(f"{API}/auth/csrf") == body
        for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 64}):
            status, refused, _ = await page.ask("POST", f"{API}/auth/logout", headers=headers)
            assert (status, refused["code"]) == (403, "CSRF_TOKEN_INVALID")
        good = {"X-CSRF-Token": body["csrf_token"]}
        kept = {"Cookie": cookie.partition(";")[0]}
        assert (await page.ask("POST", f"{API}/auth/logout", headers=good))[0] == 200
        assert (await page.ask("GET", f"{API}/auth/me"))[0] == 401
        assert (await api.ask("GET", f"{API}/auth/me", headers=kept))[0] == 401
    status, body, _ = await api.ask("POST", f"{API}/auth/link", {"token": token})
    assert (status, body["code"]) == (401, "LINK_USED")
    assert "stream-server admin-link" in body["message"]


async def test_a_link_expires_after_fifteen_minutes(server: Server) -> None:
    made_ns = time.time_ns() - 15 * 60 * 1_000_000_000 - 1
    old: str = await server.services.database.write(
        lambda connection: credentials.create_admin_link(connection, made_ns, "test")
    )
    status, body, _ = await server.api().ask("POST", f"{API}/auth/link", {"token": old})
    assert (status, body["code"]) == (401, "LINK_EXPIRED")


async def test_the_cookie_is_secure_and_the_address_real_behind_a_trusted_proxy(tmp_path: Path) -> None:
    directory = data_directory.prepare(tmp_path)
    proxied = ServerConfig(server=ServerSection(port=0, trust_forwarded=True))
    async with running_server(proxied, directory) as running, aiohttp.ClientSession() as session:
        server = Server(running, session)
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "10.0.0.1, 192.0.2.7"}
        token = await new_link(server)
        _, _, response = await server.api().ask("POST", f"{API}/auth/link", {"token": token}, headers=headers)
        assert "Secure" in response.headers["Set-Cookie"].split("; ")
        body = {"enrolment_token": await server.enrolment(), "agent_id": "van7"}
        headers["Host"] = "stream.example.com"
        _, answer, _ = await server.api().ask("POST", f"{API}/agents/register", body, headers=headers)
        assert answer["ws_url"] == "wss://stream.example.com"
        records = (await (await server.user("admin")).get(f"{API}/audit"))["records"]
        remotes = {record["action"]: record["remote"] for record in records}
        assert remotes["agent.register"] == remotes["session.open"] == "192.0.2.7"


async def test_forwarded_headers_are_not_believed_unless_configured(server: Server) -> None:
    body = {"enrolment_token": await server.enrolment(), "agent_id": "van7"}
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    _, answer, _ = await server.api().ask("POST", f"{API}/agents/register", body, headers=headers)
    assert answer["ws_url"].startswith("ws://127.0.0.1:")
    admin = await server.user("admin")
    assert (await admin.get(f"{API}/agents/van7"))["remote"] == "127.0.0.1"


async def test_requests_per_credential_and_failures_per_address_are_limited(tmp_path: Path) -> None:
    directory = data_directory.prepare(tmp_path)
    limits = config(requests_per_second=0.01, request_burst=3, failed_authentication_burst=2)
    async with running_server(limits, directory) as running, aiohttp.ClientSession() as session:
        server = Server(running, session)
        one, other, nobody = await server.user("viewer"), await server.user("viewer"), server.api("guess")
        told = [(await one.ask("GET", f"{API}/auth/me"))[0] for _ in range(4)]
        assert told == [200, 200, 200, 429]
        _, body, response = await one.ask("GET", f"{API}/auth/me")
        assert body["code"] == "RATE_LIMITED"
        assert int(response.headers["Retry-After"]) == body["details"]["retry_after_seconds"] > 1
        guesses = [(await nobody.ask("GET", f"{API}/auth/me"))[0] for _ in range(3)]
        assert guesses == [401, 401, 429]
        link = {"token": "guess"}
        assert (await server.api().ask("POST", f"{API}/auth/link", link))[0] == 429
        assert (await other.ask("GET", f"{API}/auth/me"))[0] == 200


# Errors


async def test_every_error_has_the_same_shape(server: Server) -> None:
    viewer = await server.user("viewer")
    register = f"{API}/agents/register"
    cases: list[tuple[str, str, dict[str, Any], int, str]] = [
        ("GET", "/nothing/here", {}, 404, "NOT_FOUND"),
        ("GET", "/static/secret.py", {}, 404, "NOT_FOUND"),
        ("DELETE", f"{API}/agents", {}, 405, "METHOD_NOT_ALLOWED"),
        ("GET", f"{API}/agents/nobody", {}, 404, "AGENT_NOT_FOUND"),
        ("GET", f"{API}/agents/nobody/services", {}, 404, "AGENT_NOT_FOUND"),
        ("GET", f"{API}/dongles/nothing", {}, 404, "DONGLE_NOT_FOUND"),
        ("GET", f"{API}/streams/dongles/nothing/console", {}, 404, "DONGLE_NOT_FOUND"),
        ("POST", register, {"data": b"{"}, 400, "BAD_REQUEST"),
        ("POST", register, {"data": b"\xff\xfe"}, 400, "BAD_REQUEST"),
        ("POST", register, {"data": b"[" * 100_000}, 400, "BAD_REQUEST"),
        ("POST", register, {"data": b"x" * 1_000_000}, 413, "BODY_TOO_LARGE"),
        ("POST", register, {"body": {"agent_id": "a", "enrolment_token": "b", "c": 1}}, 400, "BAD_REQUEST"),
    ]
    for method, path, options, expected, code in cases:
        status, body, response = await viewer.ask(method, path, **options)
        assert (status, body["code"]) == (expected, code), path
        assert set(body) == {"code", "message", "details"}
        assert body["message"]
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    admin = await server.user("admin")
    for query in ("limit=0", "limit=x", "limit=1001", "before=-1", "before=99999999999999999999"):
        status, body, _ = await admin.ask("GET", f"{API}/audit?{query}")
        assert (status, body["code"]) == (400, "BAD_REQUEST"), query


async def test_an_unforeseen_failure_tells_no_internals(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    viewer = await server.user("viewer")

    async def fail(_job: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(type(server.services.database), "read", lambda _self, job: fail(job))
    status, body, _ = await viewer.ask("GET", f"{API}/agents")
    assert (status, body["code"]) == (500, "INTERNAL_ERROR")
    assert "secret" not in json.dumps(body)
    assert "a secret of the inside" in caplog.text


async def test_a_websocket_path_asked_as_a_page_says_upgrade(server: Server) -> None:
    status, body, response = await (await server.agent()).ask("GET", "/ws/agent")
    assert (status, body["code"]) == (426, "UPGRADE_REQUIRED")
    assert response.headers["Upgrade"] == "websocket"


async def test_a_full_disk_is_told_by_readyz_and_ends(server: Server) -> None:
    def fill(connection: Any) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        connection.exec_driver_sql("INSERT INTO server_state VALUES ('big', hex(zeroblob(1000000)))")

    agent, api = await server.agent(), server.api()
    assert (await api.ask("GET", "/readyz"))[0] == 200
    with pytest.raises(StorageError):
        await server.services.database.write(fill)
    with pytest.raises(StorageError):
        await server.services.database.write(fill)
    text = server.services.metrics.exposition().decode()
    assert "stream_server_storage_fault 1.0" in text
    assert (await api.ask("GET", "/healthz"))[0] == 200
    assert (await api.ask("GET", "/readyz"))[0] == 200
    assert "stream_server_storage_fault 0.0" in server.services.metrics.exposition().decode()
    await (await agent.hello()).close()


# The registry in few queries; the audit trail in pages


async def test_a_fleet_is_listed_with_at_most_two_queries(server: Server) -> None:
    for number in range(30):
        agent = await server.agent(f"van{number}")
        dongles = [
            {"dongle_id": f"van{number}-can{bus}", "interface": "socketcan", "channel": f"can{bus}"}
            for bus in range(2)
        ]
        assert (await agent.ask("POST", f"{API}/agents/devices/report", {"dongles": dongles}))[0] == 200
    viewer = await server.user("viewer")
    for path in ("/agents", "/agents/van3", "/agents/van3/services", "/dongles", "/dongles/van3-can1"):
        # One more query than the answer's: the one that identifies the token.
        with counted_queries() as statements:
            await viewer.get(f"{API}{path}")
        assert 1 < len(statements) <= 3, statements
    assert len((await viewer.get(f"{API}/agents"))["agents"]) == 30
    assert len((await viewer.get(f"{API}/dongles"))["dongles"]) == 60


@contextlib.contextmanager
def counted_queries() -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)


async def test_the_audit_trail_is_paged_newest_first_without_holes(server: Server) -> None:
    for _ in range(7):
        await server.enrolment()
    admin = await server.user("admin")
    ids: list[int] = []
    before = ""
    while True:
        answer = await admin.get(f"{API}/audit?limit=3{before}")
        ids += [record["id"] for record in answer["records"]]
        if answer["next_before"] is None:
            break
        before = f"&before={answer['next_before']}"
    assert ids == list(range(8, 0, -1))


# The page, metrics, the end


async def test_the_page_runs_only_its_own_files(server: Server) -> None:
    status, page, response = await server.api().ask("GET", "/")
    assert status == 200
    assert response.content_type == "text/html"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = page.decode()
    assert not re.search(r"<script(?![^>]*src=)|<style|style=| on[a-z]+=", text)
    for name in re.findall(r"static/[a-z.]+", text):
        status, _, response = await server.api().ask("GET", f"/{name}")
        assert status == 200, name
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_metrics_name_what_operators_watch(server: Server) -> None:
    _websocket = await (await server.agent()).hello()
    viewer = await server.user("viewer")
    _events = await listen(viewer, "van7-can0")
    text = (await viewer.get("/metrics")).decode()
    for line in ("agent_connections 1.0", "agents_online 1.0", "sse_subscribers 1.0", "storage_fault 0.0"):
        assert f"stream_server_{line}" in text
    for name in ("packets_received", "frames_recorded", "gaps", "packets_duplicate"):
        assert f"stream_server_{name}_total" in text
    assert "stream_server_database_commit_seconds_bucket" in text


async def test_stopping_ends_streams_and_sockets_at_once(tmp_path: Path) -> None:
    directory = data_directory.prepare(tmp_path)
    async with aiohttp.ClientSession() as session:
        async with running_server(config(), directory) as running:
            server = Server(running, session)
            websocket = await (await server.agent()).hello()
            events = await listen(await server.user("viewer"), "van7-can0")
            reading = asyncio.create_task(events.content.read())
            ended = asyncio.create_task(closing(websocket))
        assert b"event: presence" in await asyncio.wait_for(reading, 10)
        assert (await asyncio.wait_for(ended, 10))[0] == 1001
