"""The server over real sockets: registration, identity, control messages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from can_stream.protocol.control import MAX_CONTROL_MESSAGE_BYTES
from stream_server.access.secrets import PREFIXES
from tests.helpers.api_server import (
    API,
    HEARTBEAT,
    HELLO,
    Server,
    api_server,
    closing,
    eventually,
    listen,
    next_event,
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with api_server(tmp_path) as running:
        yield running


async def test_an_enrolment_token_makes_an_agent(server: Server) -> None:
    body = {"enrolment_token": await server.enrolment(), "agent_id": "van7", "version": "1.0"}
    status, answer, _ = await server.api().ask("POST", f"{API}/agents/register", body)
    assert status == 201
    assert answer["agent_id"] == "van7"
    assert answer["ws_url"] == server.running.url.replace("http", "ws", 1)
    assert answer["agent_token"].startswith(PREFIXES["agent"])
    stored = (Path(server.services.database.path).parent).glob("*.sqlite3*")
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


async def test_an_admin_sees_enrolment_tokens_and_revokes_them(server: Server) -> None:
    admin, viewer = await server.user("admin"), await server.user("viewer")
    secret, other = await server.enrolment("van9", uses=2), await server.enrolment()
    body = await admin.get(f"{API}/enrolments")
    assert secret not in str(body)
    first, second = body["enrolments"]
    assert (first["agent_id"], first["uses_left"], first["revoked"]) == ("van9", 2, None)
    assert (second["agent_id"], second["uses_left"]) == (None, 1)
    assert first["created"][11:] == first["expires"][11:], "a day later"
    revoke = f"{API}/enrolments/{first['id']}/revoke"
    assert (await viewer.ask("POST", revoke))[0] == 403
    assert (await admin.ask("POST", revoke))[0] == 200
    for path in (revoke, f"{API}/enrolments/x/revoke", f"{API}/enrolments/{'9' * 30}/revoke"):
        status, answer, _ = await admin.ask("POST", path)
        assert (status, answer["code"]) == (404, "ENROLMENT_NOT_FOUND")
    register = f"{API}/agents/register"
    status, answer, _ = await server.api().ask(
        "POST", register, {"enrolment_token": secret, "agent_id": "van9"}
    )
    assert (status, answer["code"]) == (403, "ENROLMENT_REVOKED")
    status, _, _ = await server.api().ask("POST", register, {"enrolment_token": other, "agent_id": "van1"})
    assert status == 201


async def test_two_uses_register_two_agents(server: Server) -> None:
    token = await server.enrolment(uses=2)
    for agent_id, expected in (("a", 201), ("b", 201), ("c", 403)):
        body = {"enrolment_token": token, "agent_id": agent_id}
        assert (await server.api().ask("POST", f"{API}/agents/register", body))[0] == expected


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
    async with api_server(tmp_path) as server:
        agent, viewer = await server.agent(), await server.user("viewer")
        websocket = await agent.hello()
        for changed in (service | {"status_code": 2}, service):
            await websocket.send_json({"type": "status", "services": [changed]})
        await websocket.send_json(HEARTBEAT)

        async def stored() -> bool:
            answer = await viewer.get(f"{API}/agents/van7/services")
            return bool(answer["services"] == [service])

        await eventually(stored)
    async with api_server(tmp_path) as server:
        viewer = await server.user("viewer")
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
        (json.dumps(HELLO | {"agent_id": "van8"}), 1008, "AGENT_MISMATCH"),
        (json.dumps(HELLO | {"protocol": 99}), 1008, "PROTOCOL_ERROR"),
        ("[" * 100_000, 1008, "PROTOCOL_ERROR"),
        ("x" * MAX_CONTROL_MESSAGE_BYTES, 1008, "PROTOCOL_ERROR"),
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
    await websocket.send_str("x" * (MAX_CONTROL_MESSAGE_BYTES + 1))
    assert (await closing(websocket))[0] == 1009
    await (await agent.hello()).close()
    text = server.services.metrics.exposition().decode()
    assert 'stream_server_protocol_errors_total{endpoint="control"} 1.0' in text


async def test_what_later_versions_speak_is_refused_without_closing(server: Server) -> None:
    websocket = await (await server.agent()).hello()
    await websocket.send_json({"type": "command_status", "command_id": "1", "status": "done"})
    assert (await websocket.receive_json(timeout=10))["code"] == "NOT_SUPPORTED"
    assert not websocket.closed


async def test_the_newest_connection_wins_and_one_machine_may_displace_itself(server: Server) -> None:
    agent, admin = await server.agent(), await server.user("admin")
    older = await agent.hello()
    for _ in range(5):
        newer = await agent.hello()
        code, reason = await closing(older)
        assert code == 4001
        assert "newer" in reason
        older = newer
    await older.close()
    records = (await admin.get(f"{API}/audit"))["records"]
    assert "agent.duplicate_identity" not in {record["action"] for record in records}


async def test_two_starts_that_take_turns_are_a_duplicate_identity(server: Server) -> None:
    agent, viewer, admin = await server.agent(), await server.user("viewer"), await server.user("admin")
    older = await agent.hello()
    events = await listen(viewer, "van7-can0")
    for start_id in ("0b" * 8, HELLO["start_id"]):
        newer = await agent.hello(start_id=start_id)
        code, reason = await closing(older)
        assert code == 4001
        assert "newer" in reason
        older = newer
    newer = await agent.hello(start_id="0b" * 8)
    error = await older.receive_json(timeout=10)
    assert (error["type"], error["code"]) == ("error", "DUPLICATE_IDENTITY")
    assert "enrol one of them under another id" in error["message"]
    code, reason = await closing(older)
    assert code == 4003
    assert "agent van7" in reason
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
