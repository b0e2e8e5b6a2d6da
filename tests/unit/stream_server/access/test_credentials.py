"""Stored credentials: whose they are, until when, and that each is made, used and ended on the record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Connection, select

from stream_server.access import audit, credentials, machines
from stream_server.access.credentials import Identity
from stream_server.access.roles import Role
from stream_server.access.secrets import hash_secret
from stream_server.errors import ApiError
from stream_server.storage import kept_facts
from stream_server.storage import server_schema as schema
from stream_server.storage.database import open_engine
from tests.helpers.server_parts import new_storage

SECOND_NS: Final = 1_000_000_000
NOW_NS: Final = 1_766_417_462 * SECOND_NS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return new_storage(tmp_path)


@pytest.fixture
def storage(path: Path) -> Iterator[Connection]:
    engine = open_engine(path)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def token(storage: Connection, role: Role = "viewer", name: str = "") -> str:
    return credentials.create_api_token(storage, role, name, NOW_NS, "cli")


def link(storage: Connection, now_ns: int = NOW_NS) -> str:
    return credentials.create_admin_link(storage, now_ns, "cli")


def redeemed(storage: Connection, secret: str, now_ns: int = NOW_NS, session_seconds: float = 60.0) -> str:
    return credentials.redeem_link(storage, secret, session_seconds, now_ns, "192.0.2.7")


def deeds(storage: Connection) -> list[tuple[str, str, str]]:
    """(actor, action, subject), oldest first."""
    rows, _ = audit.page(storage, None, 100)
    return [(row.actor, row.action, row.subject) for row in reversed(rows)]


def test_a_token_is_its_role_until_it_is_revoked_once(storage: Connection) -> None:
    first, second = token(storage, "operator", "grafana"), token(storage, "admin")
    assert credentials.identify_api_token(storage, first) == Identity("token:1", "operator")
    credentials.revoke_api_token(storage, 1, NOW_NS, "cli")
    assert credentials.identify_api_token(storage, first) is None
    assert credentials.identify_api_token(storage, second) == Identity("token:2", "admin")
    for token_id in (1, 3):
        with pytest.raises(ApiError, match="404 TOKEN_NOT_FOUND"):
            credentials.revoke_api_token(storage, token_id, NOW_NS, "cli")
    assert deeds(storage) == [
        ("cli", "token.create", "token:1"),
        ("cli", "token.create", "token:2"),
        ("cli", "token.revoke", "token:1"),
    ]


def test_a_secret_of_one_kind_is_none_of_another(storage: Connection) -> None:
    api, invitation = token(storage), link(storage)
    session = redeemed(storage, invitation)
    for secret in (api, invitation, session, ""):
        known = [
            credentials.identify_api_token(storage, secret),
            credentials.identify_agent(storage, secret),
            credentials.identify_session(storage, secret, NOW_NS),
        ]
        assert sum(one is not None for one in known) == (secret in (api, session))


def test_no_secret_is_in_the_file_or_on_the_record(path: Path) -> None:
    engine = open_engine(path)
    with engine.begin() as storage:
        secrets = [
            token(storage),
            machines.create_enrolment(storage, None, 1, NOW_NS, "cli"),
            opened := link(storage),
            redeemed(storage, opened),
        ]
    engine.dispose()
    stored = path.read_bytes()
    for secret in secrets:
        assert secret[-32:].encode() not in stored
        assert hash_secret(secret).encode() in stored


def test_when_a_token_was_used_is_stored_for_those_that_were(storage: Connection) -> None:
    token(storage)
    token(storage)
    credentials.touch_api_tokens(storage, {2: NOW_NS, 99: NOW_NS})
    used = storage.execute(select(schema.api_tokens.c.last_used_at_ns).order_by(schema.api_tokens.c.id))
    assert list(used.scalars()) == [None, NOW_NS]


def test_a_link_opens_one_session_within_a_quarter_of_an_hour(storage: Connection) -> None:
    last_ns = NOW_NS + 15 * 60 * SECOND_NS
    used, late = link(storage), link(storage)
    session = redeemed(storage, used, last_ns)
    identity = credentials.identify_session(storage, session, last_ns)
    assert identity is not None
    assert identity.role == "admin"
    for secret, now_ns, code in (
        (used, last_ns, "LINK_USED"),
        (late, last_ns + 1, "LINK_EXPIRED"),
        ("cea_link_guess", last_ns, "LINK_EXPIRED"),
    ):
        with pytest.raises(ApiError, match=f"401 {code}: .*stream-server admin-link"):
            redeemed(storage, secret, now_ns)
    assert deeds(storage)[-1] == ("link", "session.open", identity.subject)


def test_a_session_ends_at_its_time_or_when_it_is_closed(storage: Connection) -> None:
    one, other = (redeemed(storage, link(storage), session_seconds=60) for _ in range(2))
    end_ns = NOW_NS + 60 * SECOND_NS
    assert credentials.identify_session(storage, one, end_ns) is not None
    assert credentials.identify_session(storage, one, end_ns + 1) is None
    identity = credentials.identify_session(storage, other, NOW_NS)
    assert identity is not None
    credentials.close_session(storage, identity.subject, NOW_NS, "192.0.2.7")
    assert credentials.identify_session(storage, other, NOW_NS) is None
    assert credentials.identify_session(storage, one, NOW_NS) is not None
    assert deeds(storage)[-1] == (identity.subject, "session.close", identity.subject)


def test_what_has_expired_is_swept_out(storage: Connection) -> None:
    redeemed(storage, link(storage), session_seconds=1)
    link(storage)
    later_ns = NOW_NS + 16 * 60 * SECOND_NS
    redeemed(storage, link(storage, later_ns), later_ns)
    counts = [len(storage.execute(select(table)).all()) for table in (schema.admin_links, schema.sessions)]
    assert counts == [1, 1], "those of later"


def test_a_newcomer_is_given_a_link_until_somebody_has_signed_in(storage: Connection) -> None:
    first, second = (credentials.first_admin_link(storage, NOW_NS) for _ in range(2))
    assert None not in (first, second)
    assert first != second
    redeemed(storage, str(second))
    assert credentials.first_admin_link(storage, NOW_NS) is None
    assert kept_facts.get(storage, kept_facts.SIGNED_IN) == str(NOW_NS)


def test_an_enrolment_is_on_the_record_with_whom_it_is_for_and_how_often(storage: Connection) -> None:
    machines.create_enrolment(storage, "van7", 3, NOW_NS, "token:1")
    (row,), _ = audit.page(storage, None, 1)
    recorded: tuple[Any, ...] = (row.actor, row.action, row.subject, row.at_ns, row.after)
    expected = '{"agent_id":"van7","uses":3,"valid_days":1}'
    assert recorded == ("token:1", "enrolment.create", "enrolment:1", NOW_NS, expected)
