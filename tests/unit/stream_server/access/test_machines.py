"""Credentials of machines: who may register until when, and what ends an agent's token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from can_stream.protocol.registration import RegisterRequest
from stream_server.access import audit, credentials, machines
from stream_server.access.secrets import hash_secret
from stream_server.errors import ApiError
from stream_server.fleet import registry
from stream_server.storage.database import open_engine
from tests.helpers.server_parts import new_storage

DAY_NS = 86_400 * 1_000_000_000
NOW_NS = 1_766_417_000 * 1_000_000_000


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Connection]:
    engine = open_engine(new_storage(tmp_path))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def register(storage: Connection, token: str, agent_id: str, now_ns: int = NOW_NS) -> str:
    return registry.register(storage, RegisterRequest(token, agent_id), now_ns, None)


def refused(storage: Connection, token: str, agent_id: str, now_ns: int = NOW_NS) -> str:
    with pytest.raises(ApiError) as error:
        register(storage, token, agent_id, now_ns)
    return error.value.code


def lets_in(storage: Connection, secret: str) -> bool:
    known = credentials.identify_agent(storage, secret) is not None
    valid = credentials.valid_hashes(storage, ["agent"], NOW_NS)
    assert known == (hash_secret(secret) in valid), "who asks and who is in are judged alike"
    return known


def test_an_enrolment_token_lasts_a_day_or_as_long_as_is_said(storage: Connection) -> None:
    usual = machines.create_enrolment(storage, None, 5, NOW_NS, "cli")
    card = machines.create_enrolment(storage, None, 5, NOW_NS, "cli", valid_days=90)
    register(storage, usual, "van1", NOW_NS + DAY_NS - 1)
    assert refused(storage, usual, "van2", NOW_NS + DAY_NS) == "ENROLMENT_EXPIRED"
    register(storage, card, "van2", NOW_NS + 90 * DAY_NS - 1)
    assert refused(storage, card, "van3", NOW_NS + 90 * DAY_NS) == "ENROLMENT_EXPIRED"


def test_a_token_of_a_server_of_before_does_not_expire(storage: Connection) -> None:
    token = machines.create_enrolment(storage, None, 1, NOW_NS, "cli")
    storage.exec_driver_sql("UPDATE enrolments SET expires_at_ns = NULL")
    register(storage, token, "van1", NOW_NS + 1000 * DAY_NS)


def test_a_revoked_enrolment_token_lets_nobody_in_and_who_is_in_stays(storage: Connection) -> None:
    token = machines.create_enrolment(storage, None, 2, NOW_NS, "cli")
    secret = register(storage, token, "van1")
    machines.revoke_enrolment(storage, 1, NOW_NS, "token:3", "192.0.2.7")
    assert refused(storage, token, "van2") == "ENROLMENT_REVOKED"
    assert lets_in(storage, secret)
    (row,), _ = audit.page(storage, None, 1)
    recorded = (row.actor, row.action, row.subject, row.remote)
    assert recorded == ("token:3", "enrolment.revoke", "enrolment:1", "192.0.2.7")


def test_a_disabled_agent_is_out_until_it_is_enabled_also_with_a_new_enrolment(storage: Connection) -> None:
    secret = register(storage, machines.create_enrolment(storage, None, 1, NOW_NS, "cli"), "van1")
    other = register(storage, machines.create_enrolment(storage, None, 1, NOW_NS, "cli"), "van2")
    machines.set_agent(storage, "van1", "disable", NOW_NS, "cli")
    named = machines.create_enrolment(storage, "van1", 1, NOW_NS, "cli")
    assert not lets_in(storage, secret)
    assert lets_in(storage, other)
    assert refused(storage, named, "van1") == "AGENT_DISABLED"
    machines.set_agent(storage, "van1", "enable", NOW_NS, "cli")
    assert lets_in(storage, secret)
    assert lets_in(storage, register(storage, named, "van1"))


def test_a_revoked_agent_is_out_until_it_is_enrolled_again(storage: Connection) -> None:
    secret = register(storage, machines.create_enrolment(storage, None, 1, NOW_NS, "cli"), "van1")
    machines.set_agent(storage, "van1", "revoke", NOW_NS, "cli")
    machines.set_agent(storage, "van1", "enable", NOW_NS, "cli")
    assert not lets_in(storage, secret)
    stranger = machines.create_enrolment(storage, None, 1, NOW_NS, "cli")
    assert refused(storage, stranger, "van1") == "AGENT_EXISTS"
    again = register(storage, machines.create_enrolment(storage, "van1", 1, NOW_NS, "cli"), "van1")
    assert (lets_in(storage, secret), lets_in(storage, again)) == (False, True)
