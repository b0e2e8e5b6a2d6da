"""Activations in storage and memory: named once, kept over a restart, stopped by what has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from can_stream.protocol.control import DongleInfo, RelaySide
from stream_server import clock
from stream_server.errors import ApiError, StorageError
from stream_server.fleet.side import Facts
from stream_server.groups import activation_store
from stream_server.groups.activation import SERVER_RESTORED, Asked
from stream_server.groups.activations import Activations
from stream_server.groups.group_state import DirectionBooks
from stream_server.groups.groups import Groups
from stream_server.groups.memberships import Group, Wanted
from stream_server.storage import kept_facts
from stream_server.storage import server_schema as schema
from stream_server.storage.database import Database
from tests.helpers.server_parts import GatedDatabase, ServerParts, enrol, new_recording, new_storage

BRIDGE = Wanted("bridge", "can0", "can8")
ALLOWS = RelaySide(source=True, transmit=True, confirms="bus", max_age_seconds=1.0)


class World:
    """Two agents with a dongle each and a group of both, on storage that outlives a server."""

    def __init__(self, database: Database, recording: Database) -> None:
        self.parts = ServerParts(database, recording)
        self.groups = Groups(database, self.parts.hub)
        self.activations = Activations(database, self.parts.fleet, self.groups)
        self.changed: list[str] = []
        self.activations.on_change = lambda group: self.changed.append(group.group_id)

    async def load(self) -> World:
        await self.parts.fleet.load()
        await self.groups.load()
        await self.activations.load()
        return self

    @property
    def group(self) -> Group:
        return self.groups.group("bridge")

    @property
    def state(self) -> Any:
        return self.groups.state(self.group)

    async def activate(self, **asked: Any) -> None:
        await self.activations.activate("bridge", Asked(**asked), "token:1", "192.0.2.7")

    async def lists(self, agent_id: str, dongle_id: str, **more: Any) -> None:
        await self.parts.fleet.devices(agent_id, [DongleInfo(dongle_id, "socketcan", "can0", **more)], "")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database, recording = GatedDatabase(new_storage(tmp_path)), Database(new_recording(tmp_path))
    await enrol(database, "van7", "can0")
    await enrol(database, "van8", "can8")
    made = await World(database, recording).load()
    await made.groups.create(BRIDGE, "token:1", "")
    yield made
    await database.close()
    await recording.close()


async def restarted(world: World) -> World:
    return await World(world.parts.database, world.parts.recording).load()


async def audited(world: World) -> list[tuple[str, str]]:
    query = select(schema.audit.c.actor, schema.audit.c.action).order_by(schema.audit.c.id)
    found = await world.parts.database.read(lambda one: one.execute(query).all())
    return [tuple(row) for row in found if row[1].startswith("group.") and row[1] != "group.mode"]


async def test_an_activation_is_named_once_kept_and_ended(world: World) -> None:
    await world.activate(dry_run=True)
    name = world.state["activation"]
    assert name.endswith("-1")
    assert world.state["dry_run"]
    again = await restarted(world)
    assert again.state["activation"] == name
    await again.activations.deactivate("bridge", "token:2", "")
    assert (again.state["mode"], again.state["activation"]) == ("inactive", None)
    again = await restarted(again)
    assert again.state["mode"] == "inactive"
    await again.activate()
    assert again.state["activation"] == name[:-1] + "2", "no name is given twice"
    assert await audited(again) == [  # the second activation is summed up with the first
        ("token:1", "group.create"),
        ("token:1", "group.activate"),
        ("token:2", "group.deactivate"),
    ]


async def test_the_same_again_changes_nothing_and_others_are_refused(world: World) -> None:
    await world.activate(active_seconds=60)
    name = world.state["activation"]
    await world.activate(active_seconds=60)
    with pytest.raises(ApiError, match="active already") as refused:
        await world.activate(dry_run=True)
    assert (refused.value.status, refused.value.code) == (409, "GROUP_ACTIVE")
    with pytest.raises(ApiError, match="deactivate first"):
        await world.groups.delete("bridge", "token:1", "")
    assert world.state["activation"] == name
    await world.activations.deactivate("bridge", "token:1", "")
    await world.activations.deactivate("bridge", "token:1", "")
    await world.groups.delete("bridge", "token:1", "")
    assert world.groups.all() == []


async def test_directions_say_what_each_gateway_allows(world: World) -> None:
    await world.activate()
    assert all(way.startswith("version: ") for way in world.state["directions"].values())
    update = schema.relay_sides.update().values(knows_relay=True)
    await world.lists("van7", "can0")
    await world.lists("van8", "can8")
    await world.parts.database.write(lambda one: one.execute(update))
    world.changed.clear()
    await world.lists("van7", "can0", relay=ALLOWS)
    await world.lists("van8", "can8", relay=RelaySide(source=True))
    assert world.changed == ["bridge", "bridge"]
    directions = world.state["directions"]
    assert directions["a_to_b"].startswith("transmit: ")
    assert directions["b_to_a"] == "open"
    assert (await restarted(world)).state["directions"] == directions


@pytest.mark.parametrize("other", [{"bitrate": 250_000}, {"device_id": "usb-2"}, {"fd": True}])
async def test_another_adapter_or_bus_stops_it_for_good(world: World, other: dict[str, Any]) -> None:
    await world.lists("van8", "can8", bitrate=500_000, device_id="usb-1")
    await world.activate()
    name = world.state["activation"]
    await world.lists("van8", "can8", bitrate=500_000)
    assert world.activations.on(world.group) is not None, "unplugged is not another"
    await world.lists("van8", "can8", **({"bitrate": 500_000, "device_id": "usb-1"} | other))
    assert world.activations.on(world.group) is None
    assert world.state["mode"] == "degraded"
    assert world.state["reason"].startswith("side_changed: ")
    await world.lists("van8", "can8", bitrate=500_000, device_id="usb-1")
    assert world.activations.on(world.group) is None, "only an operator starts it again"
    await world.activations.tick()
    assert (await restarted(world)).state["reason"] == world.state["reason"]
    await world.activate()
    on = world.activations.on(world.group)
    assert on is not None
    assert on.name != name
    assert on.pins[1] == Facts("van8", "socketcan", "usb-1", 500_000, fd=False)


async def test_two_machines_with_one_identity_stop_it(world: World) -> None:
    await world.activate()
    world.parts.fleet.on_duplicate("van9")
    assert world.activations.on(world.group) is not None
    world.parts.fleet.on_duplicate("van8")
    assert world.state["reason"].startswith("duplicate_identity: ")


async def test_a_server_that_went_back_draws_another_name_and_stops_all(world: World) -> None:
    await world.activate()
    first = world.state["activation"].split("-")[0]
    await world.parts.fleet.on_went_back()
    assert world.state["reason"] == SERVER_RESTORED
    again = await restarted(world)
    assert again.state["reason"] == SERVER_RESTORED
    await again.activate()
    assert again.state["activation"].split("-")[0] != first


async def test_a_copy_that_is_opened_goes_on_with_nothing(world: World) -> None:
    await world.activate()
    await world.parts.database.write(lambda one: kept_facts.put(one, kept_facts.BACKUP_MADE_AT, "1"))
    again = await restarted(world)
    assert again.activations.on(again.group) is None
    assert again.state["reason"] == SERVER_RESTORED


async def test_its_time_ends_it_by_either_clock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.activate(active_seconds=60)
    await world.activations.tick()
    assert world.state["mode"] != "inactive"
    boot_ns = clock.boottime_ns()
    monkeypatch.setattr(clock, "boottime_ns", lambda: boot_ns + 61_000_000_000)
    await world.activations.tick()
    assert world.state["mode"] == "inactive"
    await world.activate(active_seconds=60)
    again = await restarted(world)
    wall_ns = clock.wall_ns()
    monkeypatch.setattr(clock, "wall_ns", lambda: wall_ns + 61_000_000_000)
    await again.activations.tick()
    assert again.state["mode"] == "inactive"


async def test_what_is_to_end_ends_though_nothing_can_be_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.activate()
    with monkeypatch.context() as patch:

        async def refuse(_run: object) -> None:
            raise StorageError("disk full")

        patch.setattr(world.parts.database, "write", refuse)
        with pytest.raises(StorageError):
            await world.activations.deactivate("bridge", "token:1", "")
        assert world.activations.on(world.group) is None
        with pytest.raises(StorageError):
            await world.activations.tick()
    await world.activations.tick()
    assert (await restarted(world)).activations.on(world.group) is None


async def test_the_audit_says_once_when_too_much_waits_and_when_that_is_over(world: World) -> None:
    await world.activate()
    for pressure in (False, True, True, False, False):
        books = (DirectionBooks(), DirectionBooks(pressure=pressure))
        world.activations.books_of = lambda _, books=books: books  # type: ignore[misc]
        await world.activations.tick()
        assert world.state["buffer_pressure"] == pressure
    assert (await audited(world))[2:] == [
        ("server", "group.buffer_pressure"),
        ("server", "group.buffer_pressure_over"),
    ]
    query = select(schema.audit.c.times).where(schema.audit.c.action.startswith("group.buffer_pressure"))
    assert await world.parts.database.read(lambda one: one.execute(query).scalars().all()) == [1, 1]


async def test_stored_pins_are_read_back(world: World) -> None:
    await world.lists("van7", "can0", bitrate=1, fd=True)
    await world.activate()
    stored = await world.parts.database.read(activation_store.load)
    assert stored == {"bridge": world.activations.of(world.group)}
    assert msgspec.structs.asdict(stored["bridge"].pins[0])["fd"] is True
