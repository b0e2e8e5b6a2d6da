"""Dongles: the inventory, the live console and its sampling limit."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from stream_server.errors import not_found
from stream_server.fleet import registry
from stream_server.http.api import API_PREFIX, Call, Route
from stream_server.http.bodies import DongleList, DongleView, SignalValues
from stream_server.http.routes.streams import stream_routes
from stream_server.http.signal_views import signal_views
from stream_server.http.views import dongle_view
from stream_server.recording.lane_numbers import LaneNumbers, frames_lanes


async def dongles(call: Call) -> DongleList:
    """Every dongle an agent has ever listed."""
    return DongleList(dongles=await _views(call, None))


async def dongle(call: Call) -> DongleView:
    """One dongle."""
    dongle_id = call.path("dongle_id")
    views = await _views(call, dongle_id)
    if not views:
        raise not_found("dongle", dongle_id)
    return views[0]


async def _views(call: Call, dongle_id: str | None) -> list[DongleView]:
    services = call.services
    rows = await services.database.read(partial(registry.dongle_rows, dongle_id=dongle_id))
    numbers = await services.recording.read(partial(frames_lanes, dongle_id=dongle_id))
    return [
        dongle_view(row, services.fleet.presence, numbers.get(row.dongle_id, LaneNumbers())) for row in rows
    ]


async def signals(call: Call) -> SignalValues:
    """What each signal said last."""
    services, dongle_id = call.services, call.path("dongle_id")
    services.fleet.dongle(dongle_id)
    table_hash = services.last_values.of(dongle_id).table_hash
    table = await services.signal_tables.fetch(table_hash)
    values = services.last_values.of(dongle_id).columns()
    if table is None or values.table_hash != table.hash:
        return SignalValues(dongle_id=dongle_id, hash=None, signals=[])
    # In a thread, since a table can be large.
    views = await asyncio.to_thread(signal_views, values, table)
    return SignalValues(dongle_id=dongle_id, hash=table_hash, signals=views)


ROUTES: Final = (
    Route("GET", f"{API_PREFIX}/dongles", "viewer", dongles, "All dongles", response_type=DongleList),
    Route(
        "GET",
        f"{API_PREFIX}/dongles/{{dongle_id}}",
        "viewer",
        dongle,
        "One dongle: inventory, presence, recording",
        response_type=DongleView,
    ),
    Route(
        "GET",
        f"{API_PREFIX}/dongles/{{dongle_id}}/signals",
        "viewer",
        signals,
        "The last value of every signal",
        response_type=SignalValues,
    ),
    *stream_routes(
        "dongles", "dongle_id", lambda services: services.fleet, "Server-sent events of one dongle"
    ),
)
