"""Which groups are active: begun and ended by operators, ended by time, stopped by what has changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from stream_server import clock
from stream_server.errors import ApiError, StorageError
from stream_server.fleet.fleet import Fleet
from stream_server.fleet.side import Side
from stream_server.groups import activation_store
from stream_server.groups.activation import SERVER_RESTORED, Activation, Asked, duplicate, why_stopped
from stream_server.groups.directions import direction
from stream_server.groups.group_state import DirectionBooks, Standing
from stream_server.groups.groups import Groups
from stream_server.groups.memberships import Group
from stream_server.groups.mode_history import ModeHistory
from stream_server.storage.database import Database

_T = TypeVar("_T")
Books = tuple[DirectionBooks, DirectionBooks]
BY_TIME: Final = "server"
_logger: Final = logging.getLogger(__name__)


class Activations:
    """The activations of one server, in memory, behind storage: what stops one stops it in memory first.

    `on_change` is called with a group whose activation or directions may have changed, `on_deleted` with one
    that is no more, `on_listed` when an agent has listed its dongles; `books_of` says what a group's
    directions have done.
    """

    def __init__(self, database: Database, fleet: Fleet, groups: Groups) -> None:
        self.on_change: Callable[[Group], None] = _nobody_minds
        self.on_deleted: Callable[[Group], None] = _nobody_minds
        self.on_listed: Callable[[], None] = _nothing_listens
        self.books_of: Callable[[Group], Books] = _no_books
        self._database = database
        self._fleet = fleet
        self._groups = groups
        self._known: dict[str, Activation] = {}
        self._ends_at: dict[str, int] = {}
        self._unsaved: dict[str, str] = {}
        self._pressed: set[str] = set()
        self._modes = ModeHistory(database)
        self._changing = asyncio.Lock()
        groups.standing_of = self.standing
        groups.refuse_deletion = self._refuse_deletion
        groups.on_deleted = self._deleted

    async def load(self) -> None:
        """Read them from storage, after the groups. Where this is a copy, none goes on."""
        if await self._database.read(activation_store.is_copy):
            await self._database.write(partial(activation_store.went_back, now_ns=clock.wall_ns()))
        self._known = await self._database.read(activation_store.load)
        self._fleet.on_listed = self._listed
        self._fleet.on_duplicate = self._duplicate
        self._fleet.on_went_back = self.went_back

    def of(self, group: Group) -> Activation | None:
        """The group's last activation; it may be over."""
        return self._known.get(group.group_id)

    def on(self, group: Group) -> Activation | None:
        """The group's activation, where something may be relayed for it."""
        activation = self.of(group)
        return activation if activation is not None and activation.is_on else None

    def sides(self, group: Group) -> tuple[Side, Side]:
        """A, then B, as their agents listed them last."""
        a, b = (self._fleet.dongle(one).side for one in group.dongle_ids)
        return a, b

    def standing(self, group: Group) -> Standing:
        """What `group_state` says of its activation."""
        a, b = self.sides(group)
        return Standing(self.of(group), (direction(a, b), direction(b, a)), self.books_of(group))

    async def activate(self, group_id: str, asked: Asked, actor: str, remote: str) -> Group:
        """The group is active from now on. ApiError GROUP_NOT_FOUND, 409 GROUP_ACTIVE."""

        async def change() -> Group:
            group = self._groups.group(group_id)
            on = self.on(group)
            if on is None:
                await self._begin(group, asked, actor, remote)
            elif on.asked != asked:
                raise _active_already(group_id, on)
            return group

        return await self._alone(change)

    async def deactivate(self, group_id: str, actor: str, remote: str) -> Group:
        """The group's activation is over, if there was one. ApiError GROUP_NOT_FOUND."""

        async def change() -> Group:
            group = self._groups.group(group_id)
            await self._end(group, actor, remote)
            return group

        return await self._alone(change)

    async def tick(self) -> None:
        """End what is over, store what could not be stored. Call it every second. StorageError."""
        now_ns, boot_ns = clock.wall_ns(), clock.boottime_ns()
        for group in self._groups.all():
            on = self.on(group)
            # The wall clock may have been set back since: then the other one counts.
            if on is not None and (on.is_over(now_ns) or boot_ns >= self._ends_at.get(group.group_id, 2**63)):
                await self._alone(partial(self._end, group, BY_TIME, None))
        for group_id, reason in list(self._unsaved.items()):
            await self._save_stop(group_id, reason)
        groups = self._groups.all()
        for group in groups:
            await self._audit_pressure(group)
        self._modes.forget(group.group_id for group in groups)
        await self._modes.look(map(self._groups.state, groups))

    async def _audit_pressure(self, group: Group) -> None:
        """What begins and ends between two ticks is in `buffer_pressure` for longer than that."""
        pressed = any(one.pressure for one in self.books_of(group))
        if pressed == (group.group_id in self._pressed):
            return
        await self._database.write(
            partial(activation_store.pressure, group_id=group.group_id, is_on=pressed, now_ns=clock.wall_ns())
        )
        if pressed:
            self._pressed.add(group.group_id)
        else:
            self._pressed.discard(group.group_id)

    def stop(self, group: Group, reason: str) -> None:
        """Nothing is relayed for it from this moment on, until an operator activates it again."""
        on = self.on(group)
        if on is None:
            return
        _logger.warning("group %s: nothing is relayed any more: %s", group.group_id, reason)
        stopped = Activation(on.name, on.asked, on.since_ns, on.pins, reason)
        self._known[group.group_id] = stopped
        self._unsaved[group.group_id] = reason
        self._changed(group)

    async def went_back(self) -> None:
        """The server has lost what it had: activations get another name, and all stop. StorageError."""
        for group in self._groups.all():
            self.stop(group, SERVER_RESTORED)
        await self._database.write(partial(activation_store.went_back, now_ns=clock.wall_ns()))

    def _listed(self, agent_id: str) -> None:
        for group in self._of_agent(agent_id):
            on = self.on(group)
            if on is not None and (reason := why_stopped(on.pins, self.sides(group))):
                self.stop(group, reason)
            else:
                self._changed(group)
        self.on_listed()

    def _duplicate(self, agent_id: str) -> None:
        for group in self._of_agent(agent_id):
            self.stop(group, duplicate(agent_id))

    def _of_agent(self, agent_id: str) -> list[Group]:
        found = (self._groups.of_dongle(one.dongle_id) for one in self._fleet.dongles_of(agent_id))
        return list(dict.fromkeys(group for group in found if group is not None))

    async def _begin(self, group: Group, asked: Asked, actor: str, remote: str) -> None:
        a, b = self.sides(group)
        pins, now_ns = (a.facts, b.facts), clock.wall_ns()
        job = partial(
            activation_store.begin,
            group_id=group.group_id, asked=asked, pins=pins, now_ns=now_ns, actor=actor, remote=remote,
        )  # fmt: skip
        begun = await self._database.write(job)
        self._known[group.group_id] = begun
        self._unsaved.pop(group.group_id, None)
        self._ends_at.pop(group.group_id, None)
        if asked.active_seconds is not None:
            self._ends_at[group.group_id] = clock.boottime_ns() + asked.active_seconds * 1_000_000_000
        if reason := why_stopped(pins, self.sides(group)):  # it changed while this was stored
            self.stop(group, reason)
        self._changed(group)

    async def _end(self, group: Group, actor: str, remote: str | None) -> None:
        activation = self.of(group)
        if activation is None or activation.is_ended:
            return
        ended = Activation(
            activation.name, activation.asked, activation.since_ns, activation.pins, is_ended=True
        )
        self._known[group.group_id] = ended  # what is to end ends, whether it can be stored now or not
        self._unsaved.pop(group.group_id, None)
        self._changed(group)
        job = partial(
            activation_store.end, group_id=group.group_id, now_ns=clock.wall_ns(), actor=actor, remote=remote
        )
        try:
            await self._database.write(job)
        except StorageError:
            # After a restart it would be on again: so it does not count as ended, only as stopped.
            self._known[group.group_id] = Activation(
                activation.name, activation.asked, activation.since_ns, activation.pins, "storage: not ended"
            )
            self._unsaved[group.group_id] = "storage: its end could not be stored; deactivate it again"
            raise

    async def _save_stop(self, group_id: str, reason: str) -> None:
        await self._database.write(
            partial(activation_store.stop, group_id=group_id, reason=reason, now_ns=clock.wall_ns())
        )
        if self._unsaved.get(group_id) == reason:
            del self._unsaved[group_id]

    def _changed(self, group: Group) -> None:
        self._groups.changed(group)
        self.on_change(group)

    def _refuse_deletion(self, group: Group) -> None:
        activation = self.of(group)
        if activation is not None and not activation.is_ended:
            raise ApiError(
                409,
                "GROUP_ACTIVE",
                f"group {group.group_id!r} is active; POST /api/v1/groups/{group.group_id}/deactivate first",
                {"group_id": group.group_id},
            )

    def _deleted(self, group: Group) -> None:
        """Nothing of it is another group's, whatever that is called."""
        for kept in (self._known, self._unsaved, self._ends_at):
            kept.pop(group.group_id, None)
        self._pressed.discard(group.group_id)
        self.on_deleted(group)

    async def _alone(self, change: Callable[[], Awaitable[_T]]) -> _T:
        """A credential that ends cancels its request, which must not stop between storage and memory."""

        async def in_turn() -> _T:
            async with self._changing:
                return await change()

        return await asyncio.shield(in_turn())


def _active_already(group_id: str, on: Activation) -> ApiError:
    return ApiError(
        409,
        "GROUP_ACTIVE",
        f"group {group_id!r} is active already, with other arguments; "
        f"POST /api/v1/groups/{group_id}/deactivate first",
        {"group_id": group_id, "dry_run": on.asked.dry_run, "active_seconds": on.asked.active_seconds},
    )


def _nobody_minds(_group: Group) -> None:
    """Until somebody does."""


def _nothing_listens() -> None:
    """Until something does."""


def _no_books(_group: Group) -> Books:
    return DirectionBooks(), DirectionBooks()
