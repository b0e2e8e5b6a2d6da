"""The server over real sockets: credentials, roles, sessions, limits."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from stream_server import app
from stream_server.access import audit, credentials
from stream_server.app import ROUTES
from stream_server.config import ServerConfig, ServerSection
from tests.helpers.api_server import API, HEARTBEAT, OPEN, Api, Server, api_server, config


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with api_server(tmp_path) as running:
        yield running


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
    proxied = ServerConfig(server=ServerSection(port=0, trust_forwarded=True))
    async with api_server(tmp_path, proxied) as server:
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
    limits = config(requests_per_second=0.01, request_burst=3, failed_authentication_burst=2)
    async with api_server(tmp_path, limits) as server:
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


async def test_an_audit_trail_that_is_too_long_loses_what_one_actor_has_too_much_of(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "TRIMMED_AT_ONCE", 2)
    admin = await server.user("admin")
    for number in range(9):
        await server.services.database.write(
            lambda c, n=number: audit.record(c, n, actor="agent:loud", action="x", subject=f"dongle:{n}")
        )
    await app._trim_audit(server.services.database, 6)
    records = (await admin.get(f"{API}/audit"))["records"]
    assert [one["subject"] for one in records if one["actor"] == "agent:loud"] == [
        "dongle:8", "dongle:7", "dongle:6", "dongle:5", "dongle:4",
    ]  # fmt: skip
    assert [one["action"] for one in records if one["actor"] != "agent:loud"] == ["token.create"]
