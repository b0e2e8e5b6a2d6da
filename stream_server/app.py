"""The composition root: every part of the server, put together, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiohttp import web

from stream_server import clock
from stream_server.access.access import Access
from stream_server.agents import control_socket, data_socket
from stream_server.agents.gap_telling import GapTelling
from stream_server.config import ServerConfig
from stream_server.errors import StartError, StorageError
from stream_server.fleet.fleet import Fleet
from stream_server.http import openapi
from stream_server.http.api import (
    API_PREFIX,
    MAX_BODY_BYTES,
    Call,
    Route,
    add_routes,
    add_security_headers,
    errors_as_json,
    json_response,
)
from stream_server.http.library_errors import ErrorsAsJsonRunner
from stream_server.http.routes import agents, dongles, frames, operations, sessions
from stream_server.http.services import Services
from stream_server.metrics import Metrics
from stream_server.own_address import is_every_address, own_address
from stream_server.recording.hole_keeper import HoleKeeper, load_running_time
from stream_server.recording.recorder import Recorder
from stream_server.recording.retention import Retention
from stream_server.recording.running_time import RunningTime
from stream_server.signals.last_value_store import LastValueStore
from stream_server.signals.tables import SignalTables
from stream_server.sse.fanout import FanOut, FanOutSettings
from stream_server.storage import kept_facts
from stream_server.storage.data_directory import DataDirectory
from stream_server.storage.database import Database
from stream_server.storage.readiness import Readiness
from stream_server.storage.setting_aside import damaged_recordings
from stream_server.storage_news import clock_news, look_through, tell_of_damage, tell_of_restore
from stream_server.streams.console import StreamLimits
from stream_server.streams.event_ids import IdSource
from stream_server.streams.hub import StreamHub
from stream_server.streams.ring import RingLimits

HOUSEKEEPING_SECONDS: Final = 1.0
TIDY_EVERY: Final = 5
SHUTDOWN_SECONDS: Final = 5.0
_logger: Final = logging.getLogger(__name__)

ROUTES: Final[tuple[Route, ...]] = (
    *agents.ROUTES,
    *dongles.ROUTES,
    *frames.ROUTES,
    *sessions.ROUTES,
    *operations.ROUTES,
    *control_socket.ROUTES,
    *data_socket.ROUTES,
)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that takes requests at `url`, and when `everywhere` at any address of this machine."""

    url: str
    everywhere: bool
    port: int
    app: web.Application
    services: Services
    damaged: asyncio.Event
    """A file is found to be damaged, as `damage` of its Database says: this server must end."""


@contextlib.asynccontextmanager
async def running_server(config: ServerConfig, directory: DataDirectory) -> AsyncIterator[RunningServer]:
    """Serve while this is open; then end every stream, store what is held, and close. StartError."""
    damaged = asyncio.Event()
    async with running_services(config, directory, damaged) as services:
        runner = ErrorsAsJsonRunner(
            create_app(services), shutdown_timeout=SHUTDOWN_SECONDS, handle_signals=False
        )
        await runner.setup()
        try:
            yield await _listen(runner, config, services, damaged)
        finally:
            await runner.cleanup()


def create_app(services: Services, routes: Sequence[Route] = ROUTES) -> web.Application:
    """The web application around running services."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[errors_as_json])
    app.on_response_prepare.append(add_security_headers)
    every_route = [*routes, _openapi_route(routes)]
    add_routes(app, every_route, services)

    async def end_streams(_app: web.Application) -> None:
        await services.fanout.close()
        await services.fleet.close()

    app.on_shutdown.append(end_streams)
    return app


def _openapi_route(routes: Sequence[Route]) -> Route:
    async def answer(_call: Call) -> web.Response:
        return json_response(document)

    path = f"{API_PREFIX}/openapi.json"
    route = Route("GET", path, "viewer", answer, "This document", response_type="application/json")
    document: dict[str, Any] = openapi.document([*routes, route])
    return route


@contextlib.asynccontextmanager
async def running_services(
    config: ServerConfig, directory: DataDirectory, damaged: asyncio.Event
) -> AsyncIterator[Services]:
    """Every part of the server but its web application."""
    metrics = Metrics()
    tell = partial(asyncio.get_running_loop().call_soon_threadsafe, damaged.set)
    database = Database(directory.server_path, metrics.committed, tell)
    recording = Database(directory.recording_path, metrics.committed, tell)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        stack.push_async_callback(recording.close)
        tables, last_values = SignalTables(database), LastValueStore(database, recording)
        await tables.load()
        stack.push_async_callback(tables.close)
        await last_values.load()
        stack.push_async_callback(_stored, last_values)
        hub = await _hub(config, database, tables)
        fanout = await _started_fanout(config, database, hub)
        stack.push_async_callback(fanout.close)
        await tell_of_restore(database)
        await tell_of_damage(database, recording)
        fleet = Fleet(database, hub, last_values)
        await fleet.load()
        access = Access(database, config.limits, metrics, trust_forwarded=config.server.trust_forwarded)
        running = await load_running_time(recording)
        recorder = _started_recorder(recording, metrics, running, fleet)
        stack.push_async_callback(recorder.close)
        retention = Retention(recording, config.recording, metrics, partial(clock_news, database))
        readiness = Readiness([(database, kept_facts.SERVER_READY), (recording, kept_facts.RECORDING_READY)])
        stack.push_async_callback(readiness.close)
        services = Services(
            config, database, recording, metrics, access, hub, fanout, fleet, recorder, tables, last_values,
            readiness, retention,
        )  # fmt: skip
        _add_gauges(services)
        holes = HoleKeeper(recording, recorder, running, config.holes.max_age_seconds)
        keeping = (retention.run(), last_values.run(), look_through(recording), holes.run())
        for job in (_keep_house(services), *keeping):
            stack.push_async_callback(_cancelled, asyncio.create_task(job))
        yield services


def _started_recorder(recording: Database, metrics: Metrics, running: RunningTime, fleet: Fleet) -> Recorder:
    recorder = Recorder(recording, metrics, lambda: running.at(clock.monotonic_seconds()))
    recorder.tell_gaps = GapTelling(fleet).tell
    recorder.start()
    return recorder


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _stored(last_values: LastValueStore) -> None:
    try:
        await last_values.store()
    except StorageError as error:
        _logger.warning("last values are read from the recording at the next start: %s", error)


async def _hub(config: ServerConfig, database: Database, tables: SignalTables) -> StreamHub:
    stored = await database.read(lambda connection: kept_facts.get(connection, kept_facts.ID_RESERVATION))
    console = config.console
    limits = StreamLimits(
        RingLimits(events=console.ring_events, seconds=console.ring_seconds), console.max_frames_per_second
    )
    return StreamHub(IdSource(clock.wall_ns() // 1000, int(stored or 0)), limits, tables.find)


async def _started_fanout(config: ServerConfig, database: Database, hub: StreamHub) -> FanOut:
    async def store(reservation_us: int) -> None:
        await database.write(
            lambda connection: kept_facts.put(connection, kept_facts.ID_RESERVATION, str(reservation_us))
        )

    settings = FanOutSettings(send_timeout_seconds=config.console.send_timeout_seconds)
    fanout = FanOut(hub, store, settings)
    await fanout.start()
    return fanout


async def _keep_house(services: Services) -> None:
    beat = 0
    while True:
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
        beat += 1
        try:
            await services.fleet.tick()
            if beat % TIDY_EVERY == 0:
                await services.access.tidy()
        except Exception:
            # A full disk now must not end presence for ever: the next second tries again.
            _logger.exception("housekeeping failed")


async def _listen(
    runner: web.AppRunner, config: ServerConfig, services: Services, damaged: asyncio.Event
) -> RunningServer:
    host, port = config.server.host, config.server.port
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StartError(
            f"cannot listen on {host}:{port}: {reason}; choose another with --host or --port"
        ) from error
    bound, bound_port = runner.addresses[0][:2]
    address = own_address(bound)
    shown = f"[{address}]" if ":" in address else address
    return RunningServer(
        f"http://{shown}:{bound_port}", is_every_address(bound), bound_port, runner.app, services, damaged
    )


def _add_gauges(services: Services) -> None:
    fleet, fanout, metrics = services.fleet, services.fanout, services.metrics
    metrics.gauge("agent_connections", "Open agent WebSockets", lambda: len(fleet.connections))
    metrics.gauge("agents_online", "Agents that are online", fleet.presence.online_count)
    metrics.gauge("sse_subscribers", "Open console streams", lambda: fanout.subscribers)
    metrics.gauge(
        "sse_send_timeouts", "Console clients cut off for reading nothing", lambda: fanout.send_timeouts
    )
    metrics.gauge(
        "clock_jump_seconds",
        "How far the wall clock has jumped; nothing is deleted by age until it is 0",
        lambda: services.retention.jump_seconds,
    )
    metrics.gauge(
        "damaged_recordings",
        "Recordings that were set aside since they are damaged, and are kept",
        lambda: len(damaged_recordings(services.recording.path.parent)),
    )
    metrics.gauge(
        "storage_fault",
        "1 while storage does not take writes",
        lambda: any(one.fault is not None for one in (services.database, services.recording)),
    )
