"""The server over real sockets: errors, the registry, the page, metrics, the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy

from stream_server.app import running_server
from stream_server.errors import StorageError
from stream_server.storage import data_directory
from tests.helpers.api_server import API, Server, api_server, closing, config, eventually, listen


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with api_server(tmp_path) as running:
        yield running


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
        ("POST", register, {"data": b"[" * 10_000}, 400, "BAD_REQUEST"),
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


async def test_a_query_parameter_that_is_not_known_is_refused_with_what_is(server: Server) -> None:
    admin = await server.user("admin")
    cases = [
        ("/audit?limt=5", "limt", "there is no query parameter 'limt': did you mean limit?"),
        ("/audit?x=5", "x", "there is no query parameter 'x': known here are before, limit"),
        ("/agents?limit=5", "limit", "there is no query parameter 'limit': there are none here"),
        ("/openapi.json?pretty", "pretty", "there is no query parameter 'pretty': there are none here"),
        ("/audit?limit=5&limit=6", "limit", "limit is given more than once"),
    ]
    for path, field, said in cases:
        status, body, _ = await admin.ask("GET", API + path)
        assert (status, body["code"], body["message"]) == (400, "BAD_REQUEST", said), path
        assert body["details"] == {"field": field}
    status, _, _ = await admin.ask("GET", f"{API}/audit?limit=5&before=9")
    assert status == 200
    status, body, _ = await server.api().ask("GET", f"{API}/audit?limt=5")
    assert (status, body["code"]) == (401, "UNAUTHENTICATED"), "to nobody is said what there is"
    for path in ("/?utm_source=mail", "/healthz?probe=1"):
        status, _, _ = await admin.ask("GET", path)
        assert status == 200, path


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
    assert (await api.ask("GET", "/readyz"))[0] == 503

    async def ready() -> bool:
        return bool((await api.ask("GET", "/readyz"))[0] == 200)

    await eventually(ready)
    assert "stream_server_storage_fault 0.0" in server.services.metrics.exposition().decode()
    await (await agent.hello()).close()


async def test_a_jump_of_the_clock_is_a_warning_of_readyz_and_a_number_of_metrics(server: Server) -> None:
    api = server.api()
    assert await api.get("/readyz") == {"status": "ok"}
    server.services.retention.jump_seconds = 864_000.0
    (warning,) = (await api.get("/readyz"))["warnings"]
    assert "stream-server clock confirm" in warning
    assert "stream_server_clock_jump_seconds 864000.0" in server.services.metrics.exposition().decode()


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
