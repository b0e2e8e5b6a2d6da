"""The fleet in storage: who may register, whose dongles are whose, services."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select

from can_stream.protocol.control import ServiceStatus
from can_stream.protocol.registration import RegisterRequest
from stream_server.access.credentials import identify_agent
from stream_server.access.machines import create_enrolment
from stream_server.errors import ApiError
from stream_server.fleet import registry
from stream_server.storage import server_schema as schema
from stream_server.storage.database import open_engine
from tests.helpers.server_parts import TABLE, dongle, new_storage


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(new_storage(tmp_path))
    yield made
    made.dispose()


@pytest.fixture
def storage(engine: Engine) -> Iterator[Connection]:
    """One transaction, as one request has it."""
    with engine.begin() as connection:
        yield connection


def enrolment(storage: Connection, agent_id: str | None = None, uses: int = 1) -> str:
    return create_enrolment(storage, agent_id, uses, 0, "test")


def register(storage: Connection, token: str, agent_id: str = "van7", version: str = "1.0") -> str:
    return registry.register(storage, RegisterRequest(token, agent_id, version), 5, "192.0.2.7")


def agents(storage: Connection, *agent_ids: str) -> None:
    for agent_id in agent_ids:
        register(storage, enrolment(storage), agent_id)


def owner(storage: Connection, secret: str) -> str | None:
    identity = identify_agent(storage, secret)
    return None if identity is None else identity.agent_id


def audited(storage: Connection, action: str) -> list[tuple[Any, ...]]:
    """(actor, subject, before, after) of every deed of this kind."""
    table = schema.audit
    rows = storage.execute(select(table).where(table.c.action == action).order_by(table.c.id))
    return [(r.actor, r.subject, *(one and json.loads(one) for one in (r.before, r.after))) for r in rows]


def uses_left(storage: Connection) -> list[int]:
    return list(
        storage.execute(select(schema.enrolments.c.uses_left).order_by(schema.enrolments.c.id)).scalars()
    )


def list_dongles(storage: Connection, agent_id: str, *dongle_ids: str) -> list[str]:
    return registry.list_dongles(storage, agent_id, [dongle(one) for one in dongle_ids], 9, "192.0.2.7")


def listed(storage: Connection, agent_id: str) -> dict[str, bool]:
    return {row.dongle_id: row.listed for row in registry.dongles_of(storage, agent_id)}


def test_a_registered_agent_is_known_by_its_token(storage: Connection) -> None:
    secret = register(storage, enrolment(storage))
    assert owner(storage, secret) == "van7"
    (row,), _ = registry.agent_rows(storage, "van7")
    assert (row.version, row.created_at_ns, row.remote, row.dongle_id) == ("1.0", 5, "192.0.2.7", None)
    assert secret not in row
    assert audited(storage, "agent.register") == [("enrolment:1", "agent:van7", None, {"version": "1.0"})]
    assert audited(storage, "agent.reenrol") == []


def test_a_taken_id_is_refused_with_the_remedy_and_costs_no_use(storage: Connection) -> None:
    secret, token = register(storage, enrolment(storage)), enrolment(storage)
    with pytest.raises(ApiError, match="stream-server enroll create --agent-id van7") as refused:
        register(storage, token)
    assert (refused.value.status, refused.value.code) == (409, "AGENT_EXISTS")
    assert refused.value.details == {"agent_id": "van7"}
    assert owner(storage, secret) == "van7"
    assert uses_left(storage) == [0, 1]
    assert owner(storage, register(storage, token, "van8")) == "van8"


def test_an_enrolment_that_names_the_agent_replaces_its_token_and_nothing_else(storage: Connection) -> None:
    old = register(storage, enrolment(storage))
    list_dongles(storage, "van7", "can0")
    new = register(storage, enrolment(storage, "van7"), version="2.0")
    assert (owner(storage, old), owner(storage, new)) == (None, "van7")
    (row,), _ = registry.agent_rows(storage)
    assert (row.version, row.created_at_ns, row.dongle_id) == ("2.0", 5, "can0")
    assert audited(storage, "agent.reenrol") == [("enrolment:2", "agent:van7", None, {"version": "2.0"})]


def test_an_enrolment_that_names_an_agent_makes_it_where_there_is_none(storage: Connection) -> None:
    assert owner(storage, register(storage, enrolment(storage, "van7"))) == "van7"
    assert len(audited(storage, "agent.register")) == 1


def test_an_enrolment_is_for_whom_it_names_as_often_as_it_says(storage: Connection) -> None:
    token = enrolment(storage, "van7", uses=2)
    with pytest.raises(ApiError) as refused:
        register(storage, token, "van8")
    assert (refused.value.status, refused.value.code) == (403, "ENROLMENT_FOR_OTHER_AGENT")
    assert refused.value.details == {"agent_id": "van7"}
    first, second = register(storage, token), register(storage, token)
    assert [owner(storage, one) for one in (first, second)] == [None, "van7"], "the last one counts"
    with pytest.raises(ApiError, match="make a new one") as refused:
        register(storage, token)
    assert (refused.value.status, refused.value.code) == (403, "ENROLMENT_USED")
    with pytest.raises(ApiError) as refused:
        register(storage, "cea_enroll_guess")
    assert (refused.value.status, refused.value.code) == (401, "ENROLMENT_UNKNOWN")


def test_a_dongle_stays_with_the_agent_that_listed_it_first(storage: Connection) -> None:
    agents(storage, "van7", "van8")
    assert list_dongles(storage, "van7", "can0") == []
    assert list_dongles(storage, "van8", "can1", "can0") == ["can0"]
    assert (listed(storage, "van7"), listed(storage, "van8")) == ({"can0": True}, {"can1": True})
    assert audited(storage, "dongle.conflict") == [("agent:van8", "dongle:can0", {"agent_id": "van7"}, None)]
    list_dongles(storage, "van7")
    assert list_dongles(storage, "van8", "can0") == ["can0"], "also while its owner does not list it"
    assert (listed(storage, "van7"), listed(storage, "van8")) == ({"can0": False}, {"can1": False})
    error = registry.dongle_conflict(["can0"])
    assert (error.status, error.code, error.details) == (409, "DONGLE_CONFLICT", {"dongle_ids": ["can0"]})


def test_a_list_replaces_the_one_before_and_the_last_word_on_a_dongle_counts(storage: Connection) -> None:
    agents(storage, "van7")
    list_dongles(storage, "van7", "can0", "can1")
    more = {"mode": "normal", "bitrate": 500_000, "fd": True, "data_bitrate": 2_000_000, "frames": "off"}
    said = [dongle("can1"), dongle("can1", signal_tables=[TABLE, "b" * 32], device_id="serial", **more)]
    registry.list_dongles(storage, "van7", said, 10, None)
    row = registry.one_dongle(storage, "can1")
    assert (row.mode, row.bitrate, row.fd, row.data_bitrate) == ("normal", 500_000, True, 2_000_000)
    assert (row.frames_mode, row.signal_table, row.device_id, row.created_at_ns) == (
        "off",
        TABLE,
        "serial",
        9,
    )
    assert listed(storage, "van7") == {"can0": False, "can1": True}
    list_dongles(storage, "van7", "can0", "can1")
    assert registry.one_dongle(storage, "can1").signal_table is None
    with pytest.raises(ApiError, match="404 DONGLE_NOT_FOUND"):
        registry.one_dongle(storage, "can2")


def test_an_agent_that_lists_too_many_dongles_is_refused_and_keeps_what_it_had(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MAXIMUM_DONGLES", 3)
    with engine.begin() as storage:
        agents(storage, "van7", "van8")
        list_dongles(storage, "van8", "other")
        list_dongles(storage, "van7", "a", "b")
        assert list_dongles(storage, "van7", "c", "other") == ["other"], "what is refused does not count"
    with pytest.raises(ApiError, match="409 TOO_MANY_DONGLES"), engine.begin() as storage:
        list_dongles(storage, "van7", "a", "d")
    with engine.begin() as storage:
        assert listed(storage, "van7") == {"a": False, "b": False, "c": True}
        assert list_dongles(storage, "van7", "a", "b", "c") == []


def service(name: str, status_code: int = 0, **metrics: Any) -> ServiceStatus:
    return ServiceStatus(f"van7/{name}", name, name, "uplink", status_code, "OK", "", "2026-01-01", metrics)


def known_services(storage: Connection) -> list[tuple[str, int]]:
    return [(row.agent_service_id, row.status_code) for row in registry.service_rows(storage, "van7")]


def test_each_service_replaces_what_was_known_of_it(
    storage: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MAXIMUM_SERVICES", 3)
    agents(storage, "van7", "van8")
    registry.store_services(storage, "van8", [service("a", 5)])
    registry.store_services(storage, "van7", [service("b"), service("a"), service("b", 2)])
    assert known_services(storage) == [("a", 0), ("b", 2)]
    registry.store_services(storage, "van7", [service("a", 1, lost=3), service("c")])
    assert known_services(storage) == [("a", 1), ("b", 2), ("c", 0)]
    (other,) = registry.service_rows(storage, "van8")
    assert other.status_code == 5, "of another agent's nothing"
    assert json.loads(registry.service_rows(storage, "van7")[0].metrics) == {"lost": 3}
    with pytest.raises(ApiError, match="409 TOO_MANY_SERVICES"):
        registry.store_services(storage, "van7", [service("d")])


def test_services_of_nobody_are_not_found_and_of_an_agent_without_any_are_none(storage: Connection) -> None:
    agents(storage, "van7")
    assert registry.service_rows(storage, "van7") == []
    with pytest.raises(ApiError, match="404 AGENT_NOT_FOUND"):
        registry.service_rows(storage, "van8")


def test_agents_come_with_a_row_for_each_dongle_and_all_their_services(storage: Connection) -> None:
    agents(storage, "b", "a", "none")
    list_dongles(storage, "b", "2", "1")
    list_dongles(storage, "a", "3")
    registry.store_services(storage, "a", [service("z"), service("y")])
    rows, services = registry.agent_rows(storage)
    assert [(row.agent_id, row.dongle_id) for row in rows] == [
        ("a", "3"),
        ("b", "1"),
        ("b", "2"),
        ("none", None),
    ]
    assert [row.agent_service_id for row in services] == ["y", "z"]
    rows, services = registry.agent_rows(storage, "b")
    assert ([row.dongle_id for row in rows], services) == (["1", "2"], [])


def test_a_dongle_comes_with_the_clock_of_its_agent(storage: Connection) -> None:
    agents(storage, "van7")
    list_dongles(storage, "van7", "can0", "can1")
    registry.heartbeat(storage, "van7", True, 77)
    rows = [(row.dongle_id, row.clock_synchronised) for row in registry.dongle_rows(storage)]
    assert rows == [("can0", True), ("can1", True)]
    assert [row.dongle_id for row in registry.dongle_rows(storage, "can1")] == ["can1"]
    assert registry.dongle_rows(storage, "can2") == []


def test_a_sampling_limit_is_audited_with_what_it_was_before(storage: Connection) -> None:
    agents(storage, "van7")
    list_dongles(storage, "van7", "can0")
    for minute, limit in enumerate((50, None, 7)):
        at_ns = minute * 60 * 10**9
        registry.set_sampling(storage, "can0", limit, at_ns, "token:1", "192.0.2.7")
    row = registry.one_dongle(storage, "can0")
    assert (row.max_frames_per_second, row.sampling_set) == (7, True)
    name = "max_frames_per_second"
    assert [one[2:] for one in audited(storage, "sampling.set")] == [
        (None, {name: 50}),
        ({name: 50}, {name: None}),
        ({name: None}, {name: 7}),
    ]
    with pytest.raises(ApiError, match="404 DONGLE_NOT_FOUND"):
        registry.set_sampling(storage, "can1", 7, 9, "token:1", None)


def test_when_agents_were_last_seen_is_stored_for_those_that_are_named(storage: Connection) -> None:
    agents(storage, "van7", "van8")
    registry.store_last_seen(storage, {"van7": 70, "nobody": 5})
    rows, _ = registry.agent_rows(storage)
    assert {row.agent_id: row.last_seen_at_ns for row in rows} == {"van7": 70, "van8": None}
