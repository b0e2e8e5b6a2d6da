"""The audit trail: what a record holds, and reading it page by page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from stream_server.access import audit
from stream_server.http.views import audit_view
from stream_server.storage.database import open_engine
from tests.helpers.server_parts import new_storage

AT_NS = 1_766_417_462_000_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(new_storage(tmp_path))
    yield made
    made.dispose()


def record(storage: Connection, number: int) -> None:
    audit.record(storage, AT_NS, actor="test", action="count", subject=f"number:{number}")


def test_pages_follow_each_other_from_the_newest_to_the_oldest_also_while_records_are_added(
    engine: Engine,
) -> None:
    with engine.begin() as storage:
        for number in range(10):
            record(storage, number)
        seen, before, more = [], None, True
        while more:
            rows, more = audit.page(storage, before, 3)
            seen += [row.subject for row in rows]
            before = rows[-1].id
            record(storage, 99)
        assert seen == [f"number:{number}" for number in range(9, -1, -1)]
        assert audit.page(storage, before, 3) == ([], False)


def test_the_same_within_a_minute_is_one_record_with_the_first_before_and_the_last_after(
    engine: Engine,
) -> None:
    def by(actor: str, seconds: int, value: int) -> None:
        audit.record(
            storage, AT_NS + seconds * 10**9, actor=actor, action="set", subject="x",
            remote=f"192.0.2.{value}", before=value, after=value + 1,
        )  # fmt: skip

    with engine.begin() as storage:
        for seconds in (0, 20, 59):
            by("token:1", seconds, seconds)
        by("token:2", 59, 7)
        by("token:1", 60, 60)
        by("token:1", 5, 5)
        rows, more = audit.page(storage, None, 10)
    records = audit_view(rows, more=more).records
    shown = [(one.actor, one.count, one.before, one.after) for one in records]
    assert shown == [
        ("token:1", 1, 5, 6),  # the clock was set back
        ("token:1", 1, 60, 61),
        ("token:2", 1, 7, 8),
        ("token:1", 3, 0, 60),
    ]
    assert [one.at[14:19] for one in records] == ["31:07", "32:02", "32:01", "31:02"]
    assert [one.last_at[14:19] for one in records] == ["31:07", "32:02", "32:01", "32:01"]
    assert records[-1].remote == "192.0.2.59"


def test_too_many_records_of_one_actor_push_out_nobody_elses(engine: Engine) -> None:
    with engine.begin() as storage:
        audit.record(storage, AT_NS, actor="admin", action="old", subject="x")
        for number in range(10):
            record(storage, number)
        assert audit.surplus(storage, 5) == {"test": 6}
        audit.delete_oldest(storage, "test", 6)
        rows, _ = audit.page(storage, None, 20)
        assert [row.subject for row in rows] == [*(f"number:{number}" for number in range(9, 5, -1)), "x"]
        assert audit.surplus(storage, 5) == {}


def test_the_last_page_may_be_full(engine: Engine) -> None:
    with engine.begin() as storage:
        for number in range(3):
            record(storage, number)
        rows, more = audit.page(storage, None, 3)
        assert (len(rows), more) == (3, False)
        assert audit_view(rows, more=more).next_before is None
        rows, more = audit.page(storage, None, 2)
        assert audit_view(rows, more=more).next_before == rows[-1].id


def test_a_record_shows_what_was_before_and_after_as_it_was_given(engine: Engine) -> None:
    before, after = {"limit": None, "names": ["ä", 'q"']}, 0
    with engine.begin() as storage:
        audit.record(
            storage,
            AT_NS,
            actor="token:1",
            action="set",
            subject="dongle:a",
            remote="::1",
            before=before,
            after=after,
        )
        audit.record(storage, AT_NS, actor="token:1", action="unset", subject="dongle:a")
        rows, more = audit.page(storage, None, 10)
    bare, full = audit_view(rows, more=more).records
    assert (full.before, full.after, full.remote, full.actor) == (before, after, "::1", "token:1")
    assert full.at == "2025-12-22T15:31:02.000000Z"
    assert (bare.before, bare.after, bare.remote) == (None, None, None)
