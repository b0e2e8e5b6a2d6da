"""Groups of two dongles: made, listed, deleted, and their live console with its sampling limit."""

from __future__ import annotations

from typing import Final

from can_stream.text.timestamps import format_timestamp
from stream_server.groups.memberships import Group, Wanted
from stream_server.http.api import API_PREFIX, Call, Route
from stream_server.http.bodies import Done, GroupList, GroupRequest, GroupView
from stream_server.http.routes.streams import stream_routes


async def groups(call: Call) -> GroupList:
    """Every group."""
    return GroupList(groups=[_view(call, group) for group in call.services.groups.all()])


async def group(call: Call) -> GroupView:
    """One group."""
    return _view(call, call.services.groups.group(call.path("group_id")))


async def create(call: Call) -> GroupView:
    """Two dongles become a group."""
    body: GroupRequest = call.body
    wanted = Wanted(body.group_id, body.dongle_a_id, body.dongle_b_id)
    return _view(call, await call.services.groups.create(wanted, call.credential.subject, call.remote))


async def delete(call: Call) -> Done:
    """The group is no more; its dongles stay."""
    await call.services.groups.delete(call.path("group_id"), call.credential.subject, call.remote)
    return Done()


def _view(call: Call, group: Group) -> GroupView:
    created_at = format_timestamp(group.created_at_ns // 1000)
    return GroupView(created_at=created_at, **call.services.groups.state(group))


_GROUPS: Final = f"{API_PREFIX}/groups"
_GROUP: Final = f"{_GROUPS}/{{group_id}}"
ROUTES: Final = (
    Route("GET", _GROUPS, "viewer", groups, "All groups", response_type=GroupList),
    Route("POST", _GROUPS, "operator", create, "Make a group of two dongles", GroupRequest, GroupView, 201),
    Route("GET", _GROUP, "viewer", group, "One group", response_type=GroupView),
    Route("DELETE", _GROUP, "operator", delete, "Delete a group", response_type=Done),
    *stream_routes(
        "groups", "group_id", lambda services: services.groups, "Server-sent events of a group's dongles"
    ),
)
