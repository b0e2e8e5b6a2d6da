"""Groups in storage and in memory: what is made is there after a restart, and so is its console."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from stream_server.access import audit
from stream_server.errors import ApiError, StorageError
from stream_server.groups.groups import Groups
from stream_server.groups.memberships import Wanted
from stream_server.storage import server_schema as schema
from stream_server.storage.database import Database
from tests.helpers.server_parts import (
    GatedDatabase,
    ServerParts,
    Watcher,
    enrol,
    new_recording,
    new_storage,
)

BRIDGE = Wanted("bridge", "can0", "can8")


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[ServerParts]:
    database, recording = GatedDatabase(new_storage(tmp_path)), Database(new_recording(tmp_path))
    await enrol(database, "van7", "can0", "can1")
    await enrol(database, "van8", "can8", "can9")
    started = await ServerParts(database, recording).start()
    yield started
    await started.recorder.close()
    await database.close()
    await recording.close()


async def loaded(parts: ServerParts) -> Groups:
    groups = Groups(parts.database, parts.hub)
    await groups.load()
    return groups


async def restarted(parts: ServerParts) -> tuple[ServerParts, Groups]:
    again = ServerParts(parts.database, parts.recording)
    await again.fleet.load()
    return again, await loaded(again)


async def records(parts: ServerParts) -> list[tuple[Any, ...]]:
    table = schema.audit
    query = select(
        table.c.actor, table.c.action, table.c.subject, table.c.before, table.c.after, table.c.remote
    )
    return [tuple(row) for row in await parts.database.read(lambda one: one.execute(query).all())]


async def test_a_group_with_its_limit_is_there_after_a_restart(parts: ServerParts) -> None:
    groups = await loaded(parts)
    made = await groups.create(BRIDGE, "token:1", "192.0.2.7")
    await groups.set_sampling("bridge", 7, "token:1", "192.0.2.7")
    other = await groups.create(Wanted(None, "can9", "can1"), "token:1", "192.0.2.7")
    again, known = await restarted(parts)
    assert known.all() == [made, other]
    assert known.stream("bridge").max_frames_per_second == 7
    assert known.stream(other.group_id).max_frames_per_second is None
    assert known.stream("bridge") is again.hub.group("bridge")
    assert known.state(made)["offline_side"] == "AB"
    await known.delete("bridge", "token:1", "192.0.2.7")
    _, known = await restarted(parts)
    assert (known.all(), len(known)) == ([other], 1)


async def test_each_change_is_in_the_audit_with_before_and_after(parts: ServerParts) -> None:
    groups = await loaded(parts)
    await groups.create(BRIDGE, "token:1", "192.0.2.7")
    await groups.set_sampling("bridge", None, "token:2", "192.0.2.8")
    await groups.delete("bridge", "token:3", "192.0.2.9")
    members = '{"dongle_a_id":"can0","dongle_b_id":"can8"}'
    assert [row for row in await records(parts) if row[2] == "group:bridge"] == [
        ("token:1", "group.create", "group:bridge", None, members, "192.0.2.7"),
        ("token:2", "sampling.set", "group:bridge", None, '{"max_frames_per_second":null}', "192.0.2.8"),
        ("token:3", "group.delete", "group:bridge", members, None, "192.0.2.9"),
    ]
    assert await parts.database.read(lambda one: audit.of_action(one, "group.create"))


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (Wanted("x", "can0", "nobody"), "DONGLE_NOT_FOUND"),
        (Wanted("x", "nobody", "can0"), "DONGLE_NOT_FOUND"),
        (Wanted("x", "can1", "can1"), "BAD_REQUEST"),
        (Wanted("x", "can1", "can8"), "DONGLE_IN_GROUP"),
        (Wanted("bridge", "can1", "can9"), "GROUP_EXISTS"),
    ],
)
async def test_what_is_refused_is_nowhere(parts: ServerParts, wanted: Wanted, code: str) -> None:
    groups = await loaded(parts)
    made = await groups.create(BRIDGE, "token:1", "")
    before = await records(parts)
    with pytest.raises(ApiError) as refused:
        await groups.create(wanted, "token:1", "")
    assert refused.value.code == code
    for known in (groups, (await restarted(parts))[1]):
        assert known.all() == [made]
    assert await records(parts) == before


async def test_of_two_who_want_the_same_dongle_at_once_one_gets_it(parts: ServerParts) -> None:
    groups = await loaded(parts)
    asked = [groups.create(Wanted(None, "can0", other), "token:1", "") for other in ("can1", "can8", "can9")]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in found].count(ApiError) == 2
    assert len(groups) == 1
    assert groups.all() == (await restarted(parts))[1].all()


async def test_storage_itself_keeps_a_dongle_from_being_in_two_groups(parts: ServerParts) -> None:
    groups = await loaded(parts)
    await groups.create(BRIDGE, "token:1", "")
    row = {"dongle_id": "can0", "group_id": "bridge", "side": "B"}
    with pytest.raises(IntegrityError):
        await parts.database.write(lambda one: one.execute(insert(schema.dongle_group_members).values(**row)))


async def test_a_request_that_is_given_up_is_carried_out_whole(parts: ServerParts) -> None:
    groups = await loaded(parts)
    assert isinstance(parts.database, GatedDatabase)
    parts.database.gate.clear()
    request = asyncio.ensure_future(groups.create(BRIDGE, "token:1", ""))
    await parts.database.until_asked()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    parts.database.gate.set()
    with pytest.raises(ApiError, match="DONGLE_IN_GROUP"):
        await groups.create(Wanted("x", "can0", "can1"), "token:1", "")
    assert [one.group_id for one in groups.all()] == ["bridge"]


async def test_where_nothing_can_be_stored_nothing_changes(
    parts: ServerParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = await loaded(parts)
    made = await groups.create(BRIDGE, "token:1", "")

    async def refuse(_run: object) -> None:
        raise StorageError("disk full")

    monkeypatch.setattr(parts.database, "write", refuse)
    with pytest.raises(StorageError):
        await groups.delete("bridge", "token:1", "")
    with pytest.raises(StorageError):
        await groups.create(Wanted("x", "can1", "can9"), "token:1", "")
    assert groups.all() == [made]
    assert not groups.stream("bridge").ended


async def test_the_console_of_a_group_says_what_is_said_of_its_dongles_once(parts: ServerParts) -> None:
    groups = await loaded(parts)
    await groups.create(Wanted("bridge", "can0", "can1"), "token:1", "")
    watcher = Watcher(groups.stream("bridge"))
    parts.fleet.log("van7", {"level": "info", "source": "x", "message": "of both", "details": {}})
    one = {"level": "info", "source": "x", "message": "of one", "details": {}}
    parts.fleet.log("van7", one, dongle_id="can1")
    parts.fleet.log("van8", one)
    told = watcher.told("log")
    assert [(log["message"], log["agent_id"], log.get("dongle_id")) for log in told] == [
        ("of both", "van7", None),
        ("of one", "van7", "can1"),
    ]
    assert parts.fleet.held_bytes("van7")[1] > 0, "kept once for both consoles"
    await groups.delete("bridge", "token:1", "")
    assert [log["message"] for log in watcher.told("log")] == ["group bridge was deleted: this stream ends"]
    for ask in (groups.group, groups.stream):
        with pytest.raises(ApiError, match="GROUP_NOT_FOUND"):
            ask("bridge")
