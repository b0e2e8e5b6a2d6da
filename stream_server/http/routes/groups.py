"""Groups of two dongles: made, listed, activated, deleted, and their live console with its sampling limit."""

from __future__ import annotations

from typing import Final

import msgspec

from can_stream.text.timestamps import format_timestamp
from stream_server.groups.activation import Asked
from stream_server.groups.memberships import Group, Wanted
from stream_server.http.api import API_PREFIX, Call, Route
from stream_server.http.bodies import ActivateRequest, Done, GroupList, GroupRequest, GroupView
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


async def activate(call: Call) -> GroupView:
    """From now on what happens on one bus happens on the other, as far as both gateways allow it."""
    body: ActivateRequest = call.body
    asked = Asked(body.dry_run, body.active_seconds)
    activations, subject = call.services.activations, call.credential.subject
    return _view(call, await activations.activate(call.path("group_id"), asked, subject, call.remote))


async def deactivate(call: Call) -> GroupView:
    """Nothing is relayed any more."""
    activations, subject = call.services.activations, call.credential.subject
    return _view(call, await activations.deactivate(call.path("group_id"), subject, call.remote))


def _view(call: Call, group: Group) -> GroupView:
    created_at = format_timestamp(group.created_at_ns // 1000)
    return msgspec.convert({"created_at": created_at, **call.services.groups.state(group)}, GroupView)


_GROUPS: Final = f"{API_PREFIX}/groups"
_GROUP: Final = f"{_GROUPS}/{{group_id}}"
ROUTES: Final = (
    Route("GET", _GROUPS, "viewer", groups, "All groups", response_type=GroupList),
    Route("POST", _GROUPS, "operator", create, "Make a group of two dongles", GroupRequest, GroupView, 201),
    Route("GET", _GROUP, "viewer", group, "One group", response_type=GroupView),
    Route("DELETE", _GROUP, "operator", delete, "Delete a group", response_type=Done),
    Route(
        "POST",
        f"{_GROUP}/activate",
        "operator",
        activate,
        "Relay between both sides of a group",
        ActivateRequest,
        GroupView,
        empty_body=True,
    ),
    Route("POST", f"{_GROUP}/deactivate", "operator", deactivate, "Relay no more", response_type=GroupView),
    *stream_routes(
        "groups", "group_id", lambda services: services.groups, "Server-sent events of a group's dongles"
    ),
)
