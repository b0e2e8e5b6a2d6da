"""The groups of one server, in memory, behind storage, and their consoles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from can_stream.protocol.relay_control import GroupStanding
from can_stream.text.timestamps import format_timestamp
from stream_server import clock
from stream_server.groups import group_store
from stream_server.groups.directions import CLOSED
from stream_server.groups.group_state import Standing, standing_to, summariser
from stream_server.groups.memberships import Group, Memberships, Wanted
from stream_server.storage.database import Database
from stream_server.streams.console import ConsoleStream
from stream_server.streams.hub import StreamHub
from stream_server.streams.subject import Summarise

_T = TypeVar("_T")


class Groups:
    """A change is in storage before it is here; changes come one after the other, and none ends halfway.

    `standing_of`: how a group's activation stands. `refuse_deletion`: raises ApiError where a group has to
    stay. `on_deleted` is called before another group may have its id or its dongles.
    """

    def __init__(self, database: Database, hub: StreamHub) -> None:
        self._database = database
        self._hub = hub
        self.standing_of: Callable[[Group], Standing] = _inactive
        self.refuse_deletion: Callable[[Group], None] = _nothing_refuses
        self.on_deleted: Callable[[Group], None] = _nothing_refuses
        self._known = Memberships()
        self._changing = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._known)

    async def load(self) -> None:
        """Read the groups from storage. The dongles must be known by then."""
        for group, (sampling_set, limit) in await self._database.read(group_store.groups):
            stream = self._begin(group)
            if sampling_set:
                stream.max_frames_per_second = limit

    def all(self) -> list[Group]:
        """Every group, by id."""
        return list(self._known)

    def group(self, group_id: str) -> Group:
        """ApiError GROUP_NOT_FOUND."""
        return self._known.group(group_id)

    def of_dongle(self, dongle_id: str) -> Group | None:
        """The group that the dongle is in."""
        return self._known.of_dongle(dongle_id)

    def stream(self, group_id: str) -> ConsoleStream:
        """The group's console. ApiError GROUP_NOT_FOUND."""
        return self._hub.group(self.group(group_id).group_id)

    def state(self, group: Group) -> Mapping[str, Any]:
        """What `group_state` says of it now."""
        presences = [self._hub.feed(one).presence or {"online": False} for one in group.dongle_ids]
        return self._summarise(group)(presences)

    def standings_to(self, dongle_ids: Iterable[str]) -> list[GroupStanding]:
        """How the groups of these dongles stand, each as the one to which frames lead."""
        found = ((one, self.of_dongle(one)) for one in dongle_ids)
        return [standing_to(one, self.state(group)) for one, group in found if group is not None]

    def changed(self, group: Group) -> None:
        """What holds of the group may have changed: its console is told."""
        self._hub.group(group.group_id).summary_changed(clock.now())

    def _summarise(self, group: Group) -> Summarise:
        return summariser(group, lambda: self.standing_of(group))

    async def create(self, wanted: Wanted, actor: str, remote: str) -> Group:
        """A new group. ApiError as `group_store.create`."""

        async def change() -> Group:
            now_ns = clock.wall_ns()
            group = await self._database.write(
                lambda one: group_store.create(one, wanted, now_ns, actor, remote)
            )
            self._begin(group)
            return group

        return await self._alone(change)

    async def delete(self, group_id: str, actor: str, remote: str) -> None:
        """The group is no more, and its streams end. ApiError GROUP_NOT_FOUND."""

        async def change() -> None:
            group, now_ns = self.group(group_id), clock.wall_ns()
            self.refuse_deletion(group)
            await self._database.write(lambda one: group_store.remove(one, group, now_ns, actor, remote))
            self._known.dissolve(group_id)
            self.on_deleted(group)
            self._say_goodbye(group_id)
            self._hub.remove_group(group_id)

        await self._alone(change)

    async def set_sampling(self, group_id: str, limit: int | None, actor: str, remote: str) -> None:
        """Store the console's sampling limit and apply it at once; None is no limit."""

        async def change() -> None:
            stream, now_ns = self.stream(group_id), clock.wall_ns()
            await self._database.write(
                lambda one: group_store.set_sampling(one, group_id, limit, now_ns, actor, remote)
            )
            stream.max_frames_per_second = limit

        await self._alone(change)

    def _begin(self, group: Group) -> ConsoleStream:
        self._known.add(group)
        return self._hub.add_group(group.group_id, group.dongle_ids, self._summarise(group), clock.now())

    def _say_goodbye(self, group_id: str) -> None:
        now = clock.now()
        payload = {
            "ts": format_timestamp(now.wall_us),
            "level": "info",
            "source": "server",
            "message": f"group {group_id} was deleted: this stream ends",
            "details": {"group_id": group_id},
        }
        self._hub.group(group_id).emit("log", payload, now)

    async def _alone(self, change: Callable[[], Awaitable[_T]]) -> _T:
        """A credential that ends cancels its request, which must not stop between storage and memory."""

        async def in_turn() -> _T:
            async with self._changing:
                return await change()

        return await asyncio.shield(in_turn())


def _inactive(_group: Group) -> Standing:
    return Standing(None, (CLOSED, CLOSED))


def _nothing_refuses(_group: Group) -> None:
    """Until something does."""
