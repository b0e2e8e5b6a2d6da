"""The server over real sockets: what consoles are told, and who may open how many."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from stream_server.access import credentials
from tests.helpers.api_server import API, Server, api_server, closing, config, eventually, listen, next_event


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with api_server(tmp_path) as running:
        yield running


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
    path = f"{API}/streams/dongles/van7-can0/sampling"
    async with api_server(tmp_path) as server:
        viewer, operator = await server.user("viewer"), await server.user("operator")
        assert (await viewer.ask("GET", path))[0] == 404
        await (await server.agent()).hello()
        assert await viewer.get(path) == {"max_frames_per_second": 200}
        assert (await viewer.ask("PUT", path, {"max_frames_per_second": 5}))[0] == 403
        for bad in (0, 100_001, "5", 1.5):
            assert (await operator.ask("PUT", path, {"max_frames_per_second": bad}))[0] == 400
        assert (await operator.ask("PUT", path, {}))[0] == 400
        assert (await operator.ask("PUT", path, {"max_frames_per_second": 5}))[0] == 200
        assert server.services.fleet.stream("van7-can0").max_frames_per_second == 5
        assert (await operator.ask("PUT", path, {"max_frames_per_second": None}))[0] == 200
        assert server.services.fleet.stream("van7-can0").max_frames_per_second is None
    async with api_server(tmp_path) as server:
        viewer = await server.user("viewer")
        assert await viewer.get(path) == {"max_frames_per_second": None}


async def test_streams_per_credential_are_limited_and_given_back(tmp_path: Path) -> None:
    async with api_server(tmp_path, config(streams_per_credential=2)) as server:
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
            async with one.session.get(f"{one.server.url}{path}", headers=one.headers) as again:
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
    await server.services.access.end_void()
    with pytest.raises((aiohttp.ClientPayloadError, AssertionError)):
        await next_event(events, "never")
