"""The server over real sockets: groups made, refused, listed and deleted, and who may."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from stream_server.access import credentials
from tests.helpers.api_server import (
    API,
    DONGLE,
    Api,
    Server,
    api_server,
    config,
    eventually,
    listen,
    next_event,
)

GROUPS = f"{API}/groups"
BRIDGE = {"group_id": "bridge", "dongle_a_id": "van7-can0", "dongle_b_id": "van8-can0"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with api_server(tmp_path) as running:
        yield running


async def two_agents(
    server: Server,
) -> tuple[aiohttp.ClientWebSocketResponse, aiohttp.ClientWebSocketResponse]:
    """van7 with can0 and can1, van8 with can0; both stay as long as their WebSockets."""
    seven = [DONGLE, DONGLE | {"dongle_id": "van7-can1"}]
    eight = [DONGLE | {"dongle_id": "van8-can0"}]
    one = await (await server.agent()).hello(dongles=seven)
    other = await (await server.agent("van8")).hello(agent_id="van8", dongles=eight)
    return one, other


async def made(operator: Api, body: dict[str, Any]) -> dict[str, Any]:
    status, answer, _ = await operator.ask("POST", GROUPS, body)
    assert status == 201, answer
    view: dict[str, Any] = answer
    return view


async def test_a_group_is_made_seen_and_deleted_and_outlives_a_restart(tmp_path: Path) -> None:
    async with api_server(tmp_path) as server:
        _, eight = await two_agents(server)
        operator, viewer = await server.user("operator"), await server.user("viewer")
        assert await viewer.get(GROUPS) == {"groups": []}
        view = await made(operator, BRIDGE)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", view["created_at"])
        assert view.items() >= (BRIDGE | {"mode": "inactive", "offline_side": None}).items()
        assert view["activation"] is None
        await eight.close()

        async def away() -> bool:
            return bool((await viewer.get(f"{GROUPS}/bridge"))["offline_side"] == "B")

        await eventually(away)
    async with api_server(tmp_path) as server:
        operator, viewer = await server.user("operator"), await server.user("viewer")
        kept = view | {"offline_side": "AB"}
        assert await viewer.get(GROUPS) == {"groups": [kept]}
        assert await viewer.get(f"{GROUPS}/bridge") == kept
        assert "stream_server_groups 1.0" in (await viewer.get("/metrics")).decode()
        assert (await operator.ask("DELETE", f"{GROUPS}/bridge"))[:2] == (200, {"ok": True})
        assert await viewer.get(GROUPS) == {"groups": []}
        again = await made(operator, {"dongle_a_id": "van8-can0", "dongle_b_id": "van7-can1"})
        assert again["group_id"] == "van8-can0-and-van7-can1"


async def test_what_is_refused_says_why_and_changes_nothing(server: Server) -> None:
    await two_agents(server)
    operator, viewer = await server.user("operator"), await server.user("viewer")
    await made(operator, BRIDGE)
    free = {"dongle_a_id": "van7-can1", "dongle_b_id": "van8-can0"}
    cases: list[tuple[dict[str, Any] | None, int, str, str]] = [
        (free, 409, "DONGLE_IN_GROUP", "dongle 'van8-can0' is in group 'bridge', and can be in one only"),
        (BRIDGE | free, 409, "GROUP_EXISTS", "there is a group 'bridge' already"),
        (free | {"dongle_b_id": "nope"}, 404, "DONGLE_NOT_FOUND", "there is no dongle 'nope'"),
        (free | {"dongle_b_id": "van7-can1"}, 400, "BAD_REQUEST", "both are 'van7-can1'"),
        (free | {"group_id": "No Id"}, 400, "BAD_REQUEST", "group_id"),
        (free | {"group_id": "line-feed\n"}, 400, "BAD_REQUEST", "group_id"),
        (free | {"group_id": ""}, 400, "BAD_REQUEST", "group_id"),
        (free | {"dongle_a_id": None}, 400, "BAD_REQUEST", "dongle_a_id"),
        (free | {"mode": "active"}, 400, "BAD_REQUEST", "unknown field `mode`"),
        ({"dongle_a_id": "van7-can1"}, 400, "BAD_REQUEST", "dongle_b_id"),
        (None, 400, "BAD_REQUEST", "cannot be read"),
    ]
    for body, expected, code, said in cases:
        status, answer, _ = await operator.ask("POST", GROUPS, body)
        assert (status, answer["code"]) == (expected, code), (body, answer)
        assert said in answer["message"]
    for method, path in (
        ("GET", f"{GROUPS}/nope"),
        ("DELETE", f"{GROUPS}/nope"),
        ("GET", f"{API}/streams/groups/nope/console"),
        ("GET", f"{API}/streams/groups/van7-can0/console"),
        ("GET", f"{API}/streams/groups/nope/sampling"),
    ):
        status, answer, _ = await operator.ask(method, path)
        assert (status, answer["code"]) == (404, "GROUP_NOT_FOUND"), path
    sampling = {"max_frames_per_second": 5}
    assert (await operator.ask("PUT", f"{API}/streams/groups/nope/sampling", sampling))[0] == 404
    for method, path in (("GET", f"{GROUPS}?limit=5"), ("DELETE", f"{GROUPS}/bridge?force=1")):
        assert (await operator.ask(method, path))[0] == 400, path
    assert [one["group_id"] for one in (await viewer.get(GROUPS))["groups"]] == ["bridge"]


async def test_operators_change_groups_viewers_see_them_and_agents_neither(server: Server) -> None:
    await two_agents(server)
    operator, viewer, agent = (
        await server.user("operator"),
        await server.user("viewer"),
        await server.agent("x"),
    )
    assert (await viewer.ask("POST", GROUPS, BRIDGE))[0] == 403
    await made(operator, BRIDGE)
    path = f"{API}/streams/groups/bridge/sampling"
    for who, method, where, body in (
        (viewer, "DELETE", f"{GROUPS}/bridge", None),
        (viewer, "PUT", path, {"max_frames_per_second": 5}),
        (agent, "GET", GROUPS, None),
        (agent, "GET", f"{API}/streams/groups/bridge/console", None),
    ):
        assert (await who.ask(method, where, body))[0] == 403, (method, where)
    assert (await server.api().ask("GET", GROUPS))[0] == 401
    assert await viewer.get(path) == {"max_frames_per_second": 200}
    assert (await operator.ask("PUT", path, {"max_frames_per_second": 0}))[0] == 400
    assert (await operator.ask("PUT", path, {"max_frames_per_second": 5}))[0] == 200
    assert await viewer.get(path) == {"max_frames_per_second": 5}
    assert await viewer.get(f"{API}/streams/dongles/van7-can0/sampling") == {"max_frames_per_second": 200}
    assert (await operator.ask("DELETE", f"{GROUPS}/bridge"))[0] == 200
    admin = await server.user("admin")
    done = [
        (one["action"], one["actor"])
        for one in (await admin.get(f"{API}/audit"))["records"]
        if one["subject"] == "group:bridge"
    ]
    who_did = (await operator.get(f"{API}/auth/me"))["subject"]
    assert done == [(action, who_did) for action in ("group.delete", "sampling.set", "group.create")]


async def test_a_group_is_activated_ended_and_says_why_nothing_is_relayed(server: Server) -> None:
    await two_agents(server)
    operator, viewer = await server.user("operator"), await server.user("viewer")
    await made(operator, BRIDGE)
    events = await listen(viewer, "bridge", "groups")
    assert (await next_event(events, "group_state"))["mode"] == "inactive"
    status, view, _ = await operator.ask("POST", f"{GROUPS}/bridge/activate", data=b"")
    assert (status, view["mode"], view["dry_run"]) == (200, "active", False)
    assert all(way.startswith("version: ") for way in view["directions"].values())
    told = await next_event(events, "group_state")
    assert (told["mode"], told["activation"]) == ("active", view["activation"])
    assert (await operator.ask("POST", f"{GROUPS}/bridge/activate", {}))[:2] == (200, view)
    cases: list[tuple[str, str, Any, int, str]] = [
        ("POST", "/activate", {"dry_run": True}, 409, "GROUP_ACTIVE"),
        ("POST", "/activate", {"active_seconds": 0}, 400, "BAD_REQUEST"),
        ("POST", "/activate", {"when": 0}, 400, "BAD_REQUEST"),
        ("DELETE", "", None, 409, "GROUP_ACTIVE"),
    ]
    for method, path, body, wanted, code in cases:
        status, answer, _ = await operator.ask(method, f"{GROUPS}/bridge{path}", body)
        assert (status, answer["code"]) == (wanted, code), answer
    assert (await viewer.ask("POST", f"{GROUPS}/bridge/deactivate"))[0] == 403
    status, view, _ = await operator.ask("POST", f"{GROUPS}/bridge/deactivate")
    assert (status, view["mode"], view["activation"]) == (200, "inactive", None)
    assert (await next_event(events, "group_state"))["mode"] == "inactive"


async def test_the_console_tells_of_both_sides_and_ends_with_the_group(server: Server) -> None:
    seven, _ = await two_agents(server)
    operator, viewer = await server.user("operator"), await server.user("viewer")
    await made(operator, BRIDGE)
    events = await listen(viewer, "bridge", "groups")
    state = await next_event(events, "group_state")
    assert {name: state[name] for name in ("group_id", "mode", "offline_side")} == {
        "group_id": "bridge",
        "mode": "inactive",
        "offline_side": None,
    }
    assert (state["frames_received"], state["frames_pending"]) == (0, 0)
    assert [(await next_event(events, "presence"))["dongle_id"] for _ in "AB"] == ["van7-can0", "van8-can0"]
    said = {
        "type": "log",
        "wall_ns": 1,
        "level": "warning",
        "source": "can0",
        "message": "bus-off",
        "details": {},
    }
    await seven.send_json(said | {"dongle_id": "van7-can1"})
    await seven.send_json(said | {"dongle_id": "van7-can0"})
    log = await next_event(events, "log")
    assert (log["message"], log["agent_id"], log["dongle_id"]) == ("bus-off", "van7", "van7-can0")
    await seven.close()
    presence = await next_event(events, "presence")
    assert (presence["dongle_id"], presence["online"]) == ("van7-can0", False)
    assert (await next_event(events, "group_state"))["offline_side"] == "A"
    own = await listen(viewer, "van8-can0")
    assert (await operator.ask("DELETE", f"{GROUPS}/bridge"))[0] == 200
    assert (await next_event(events, "log"))["message"] == "group bridge was deleted: this stream ends"
    assert await events.content.read() == b"\n"
    assert (await next_event(own, "presence"))["online"] is True
    status, body, _ = await viewer.ask("GET", f"{API}/streams/groups/bridge/console")
    assert (status, body["code"]) == (404, "GROUP_NOT_FOUND")


async def test_a_groups_streams_count_for_their_credential_and_end_with_it(tmp_path: Path) -> None:
    async with api_server(tmp_path, config(streams_per_credential=2)) as server:
        await two_agents(server)
        await made(await server.user("operator"), BRIDGE)
        viewer = await server.user("viewer")
        events = await listen(viewer, "bridge", "groups")
        await listen(viewer, "van7-can0")
        status, body, _ = await viewer.ask("GET", f"{API}/streams/groups/bridge/console")
        assert (status, body["code"]) == (429, "TOO_MANY_STREAMS")
        who = await viewer.get(f"{API}/auth/me")
        token_id = int(who["subject"].removeprefix("token:"))
        await server.services.database.write(
            lambda connection: credentials.revoke_api_token(connection, token_id, 1, "test")
        )
        await server.services.access.end_void()
        with pytest.raises((aiohttp.ClientPayloadError, AssertionError)):
            await next_event(events, "never")
