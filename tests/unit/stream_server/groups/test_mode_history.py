"""A group's mode is an event with an id, stored, and after a restart what it was."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from stream_server import clock
from stream_server.errors import StorageError
from stream_server.groups.group_state import DirectionBooks
from stream_server.groups.memberships import Wanted
from stream_server.groups.mode_history import ModeHistory
from stream_server.storage import server_schema as schema
from stream_server.storage.database import Database
from tests.helpers.server_parts import GatedDatabase, Watcher, enrol, new_recording, new_storage
from tests.unit.stream_server.groups.test_activations import ALLOWS, World, restarted

INACTIVE = {"mode": "inactive", "reason": None}
ACTIVE = {"mode": "active", "reason": None, "offline_side": None}
AWAY = {"mode": "degraded", "reason": "offline_side", "offline_side": "AB"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database, recording = GatedDatabase(new_storage(tmp_path)), Database(new_recording(tmp_path))
    await enrol(database, "van7", "can0")
    await enrol(database, "van8", "can8")
    made = await World(database, recording).load()
    await made.groups.create(Wanted("bridge", "can0", "can8"), "token:1", "")
    yield made
    await database.close()
    await recording.close()


def everybody_is(world: World, *, online: bool) -> None:
    """Both sides are there, or not."""
    for dongle_id in ("can0", "can8"):
        feed = world.parts.hub.feed(dongle_id)
        feed.set_presence({**(feed.presence or {"dongle_id": dongle_id}), "online": online}, clock.now())


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the wall clock is more than a minute after the last, so that nothing is summed up."""
    times = itertools.count(clock.wall_ns(), 61 * 10**9)
    monkeypatch.setattr(clock, "wall_ns", lambda: next(times))


async def stored(world: World) -> list[tuple[Any, Any]]:
    """Before and after of each change in the audit."""
    table = schema.audit
    query = select(table.c.before, table.c.after).where(table.c.action == "group.mode").order_by(table.c.id)
    rows = await world.parts.database.read(lambda one: one.execute(query).all())
    return [(before and json.loads(before), json.loads(after)) for before, after in rows]


@pytest.mark.usefixtures("minutes")
async def test_each_change_of_mode_is_an_event_and_stored_once(world: World) -> None:
    watcher = Watcher(world.groups.stream("bridge"))
    everybody_is(world, online=True)
    await world.activations.tick()
    assert await stored(world) == [], "it was inactive before"
    await world.activate()
    await world.activations.tick()
    everybody_is(world, online=False)
    for _ in range(3):
        await world.activations.tick()
    everybody_is(world, online=True)
    await world.activations.tick()
    await world.activations.deactivate("bridge", "token:1", "")
    await world.activations.tick()
    told = [one["mode"] for one in watcher.told("group_state")]
    assert [mode for mode, _ in itertools.groupby(told)] == [
        "inactive",
        "active",
        "degraded",
        "active",
        "inactive",
    ]
    changes = await stored(world)
    assert [after for _, after in changes] == [ACTIVE, AWAY, ACTIVE, INACTIVE]
    assert [before for before, _ in changes] == [None, ACTIVE, AWAY, ACTIVE]


@pytest.mark.usefixtures("minutes")
async def test_after_a_restart_it_is_on_and_degraded_until_its_sides_are_back(world: World) -> None:
    everybody_is(world, online=True)
    await world.activate()
    name = world.state["activation"]
    again = await restarted(world)
    assert (again.state["mode"], again.state["activation"]) == ("degraded", name)
    await again.activations.tick()
    everybody_is(again, online=True)
    assert (again.state["mode"], again.state["activation"]) == ("active", name)
    await again.activations.tick()
    assert [after for _, after in await stored(again)] == [AWAY, ACTIVE]


async def test_what_waits_for_more_than_a_second_degrades_it(world: World) -> None:
    everybody_is(world, online=True)
    await world.activate()
    update = schema.relay_sides.update().values(knows_relay=True)
    for agent_id, dongle_id in (("van7", "can0"), ("van8", "can8")):
        await world.lists(agent_id, dongle_id, relay=ALLOWS)
        await world.parts.database.write(lambda one: one.execute(update))
        await world.lists(agent_id, dongle_id, relay=ALLOWS)
    assert world.state["mode"] == "active"
    world.activations.books_of = lambda _: (DirectionBooks(), DirectionBooks(replaying=True))
    assert (world.state["mode"], world.state["reason"]) == ("degraded", "replaying")


async def test_what_could_not_be_stored_is_stored_the_next_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody_is(world, online=True)
    await world.activate()

    async def refuse(_self: Database, _job: object) -> None:
        raise StorageError("full")

    with monkeypatch.context() as patched:
        patched.setattr(GatedDatabase, "write", refuse)
        with pytest.raises(StorageError):
            await world.activations.tick()
    assert await stored(world) == []
    await world.activations.tick()
    assert await stored(world) == [(None, ACTIVE)]


@pytest.mark.usefixtures("minutes")
async def test_a_group_that_is_called_like_one_that_is_gone_begins_anew(world: World) -> None:
    history = ModeHistory(world.parts.database)
    active = {"group_id": "bridge", **ACTIVE}
    await history.look([active])
    history.forget(["bridge"])
    await history.look([active])
    history.forget([])
    await history.look([active])
    assert await stored(world) == [(None, ACTIVE), (None, ACTIVE)]
