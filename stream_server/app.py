"""The composition root: every part of the server, put together, started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiohttp import web

from stream_server import clock
from stream_server.access import audit
from stream_server.access.access import Access
from stream_server.agents import control_socket, data_socket, relay_socket
from stream_server.agents.gap_telling import GapTelling
from stream_server.config import ServerConfig
from stream_server.descriptors import connections_possible
from stream_server.errors import StartError, StorageError
from stream_server.fleet.fleet import Fleet
from stream_server.fleet.memory import Memory
from stream_server.gauges import add_gauges
from stream_server.groups.activations import Activations
from stream_server.groups.groups import Groups
from stream_server.http import openapi
from stream_server.http.api import (
    API_PREFIX,
    Call,
    Route,
    add_routes,
    add_security_headers,
    errors_as_json,
    json_response,
)
from stream_server.http.front import Front
from stream_server.http.long_answers import LongAnswers
from stream_server.http.routes import agents, dongles, enrolments, frames, groups, operations, sessions
from stream_server.http.services import Services
from stream_server.http.site import GuardedRunner, PatientSite
from stream_server.metrics import Metrics
from stream_server.own_address import is_every_address, own_address
from stream_server.recording.block_store import fill_in
from stream_server.recording.hole_keeper import HoleKeeper, load_running_time
from stream_server.recording.recorder import PARTS, Recorder
from stream_server.recording.retention import Retention
from stream_server.recording.running_time import RunningTime
from stream_server.relay.relay import Relay
from stream_server.signals.last_value_store import LastValueStore
from stream_server.signals.tables import SignalTables
from stream_server.sse.fanout import FanOut, FanOutSettings
from stream_server.storage import kept_facts
from stream_server.storage.data_directory import DataDirectory
from stream_server.storage.database import Database
from stream_server.storage.readiness import Readiness
from stream_server.storage_news import clock_news, look_through, tell_of_damage, tell_of_restore
from stream_server.streams.console import StreamLimits
from stream_server.streams.event_ids import IdSource
from stream_server.streams.hub import StreamHub
from stream_server.streams.ring import RingLimits

SHUTDOWN_SECONDS: Final = 5.0
TRIMMED_AT_ONCE: Final = 2000
_logger: Final = logging.getLogger(__name__)

ROUTES: Final[tuple[Route, ...]] = (
    *agents.ROUTES,
    *enrolments.ROUTES,
    *dongles.ROUTES,
    *groups.ROUTES,
    *frames.ROUTES,
    *sessions.ROUTES,
    *operations.ROUTES,
    *control_socket.ROUTES,
    *data_socket.ROUTES,
    *relay_socket.ROUTES,
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
        runner = GuardedRunner(create_app(services), services.front, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            yield await _listen(runner, config, services, damaged)
        finally:
            await runner.cleanup()


def create_app(services: Services, routes: Sequence[Route] = ROUTES) -> web.Application:
    """The web application around running services."""
    app = web.Application(middlewares=[errors_as_json])
    app.on_response_prepare.append(add_security_headers)
    every_route = [*routes, _openapi_route(routes)]
    add_routes(app, every_route, services)

    async def end_streams(_app: web.Application) -> None:
        services.access.end_downloads()
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
        tables, last_values = await _loaded(stack, config, database, recording)
        hub = await _hub(config, database, tables)
        fanout = await _started_fanout(config, database, hub)
        stack.push_async_callback(fanout.close)
        fleet, known_groups, activations = await _loaded_fleet(database, hub, last_values)
        await tell_of_restore(database)
        await tell_of_damage(database, recording)
        access = Access(database, config.limits, metrics, trust_forwarded=config.server.trust_forwarded)
        running = await load_running_time(recording)
        relay = Relay(recording, fleet, known_groups, activations)
        await relay.load()
        recorder = _started_recorder(recording, metrics, running, fleet, relay)
        stack.push_async_callback(recorder.close)
        retention = _retention(config, database, recording, metrics, fleet, relay)
        readiness = Readiness([(database, kept_facts.SERVER_READY), (recording, kept_facts.RECORDING_READY)])
        stack.push_async_callback(readiness.close)
        long_answers = LongAnswers(access, config.console.send_timeout_seconds)
        stack.callback(long_answers.close)
        front = _front(config, metrics)
        services = Services(
            config, database, recording, metrics, access, front, hub, fanout, fleet, known_groups,
            activations, recorder, relay, tables, last_values, readiness, retention, long_answers,
            _memory(config, fleet, hub, recorder, relay, fanout, long_answers, front),
        )  # fmt: skip
        add_gauges(services)
        holes = HoleKeeper(recording, recorder, running, config.holes.max_age_seconds)
        for job in (*_keep_house(services), holes.run(), fill_in(recording)):
            stack.push_async_callback(_cancelled, asyncio.create_task(job))
        yield services


def _front(config: ServerConfig, metrics: Metrics) -> Front:
    most = connections_possible(config.limits.connections)
    return Front(config.limits, metrics, most, trust_forwarded=config.server.trust_forwarded)


def _memory(
    config: ServerConfig,
    fleet: Fleet,
    hub: StreamHub,
    recorder: Recorder,
    relay: Relay,
    fanout: FanOut,
    long_answers: LongAnswers,
    front: Front,
) -> Memory:
    kinds = {
        "waiting_for_storage": lambda: recorder.held_bytes,
        "relay": lambda: sum(link.direction.held.bytes for link in relay.unfinished()),
        "console_clients": lambda: fanout.unsent_bytes,
        "downloads": lambda: long_answers.held_bytes,
        "request_bodies": lambda: front.bodies.held,
    }
    return Memory(fleet, hub, config.limits.whole_memory_bytes, kinds)


async def _loaded(
    stack: contextlib.AsyncExitStack, config: ServerConfig, database: Database, recording: Database
) -> tuple[SignalTables, LastValueStore]:
    tables = SignalTables(database, config.signal_tables.max_bytes)
    last_values = LastValueStore(database, recording)
    await tables.load()
    stack.push_async_callback(tables.close)
    await last_values.load()
    stack.push_async_callback(_stored, last_values)
    return tables, last_values


async def _loaded_fleet(
    database: Database, hub: StreamHub, last_values: LastValueStore
) -> tuple[Fleet, Groups, Activations]:
    fleet, known_groups = Fleet(database, hub, last_values), Groups(database, hub)
    activations = Activations(database, fleet, known_groups)
    await fleet.load()
    await known_groups.load()
    await activations.load()
    return fleet, known_groups, activations


def _started_recorder(
    recording: Database, metrics: Metrics, running: RunningTime, fleet: Fleet, relay: Relay
) -> Recorder:
    parts = (*PARTS, relay.part)
    recorder = Recorder(recording, metrics, lambda: running.at(clock.monotonic_seconds()), parts)
    relay.commits = recorder.commits
    recorder.on_stored, recorder.on_given_up = relay.committed, relay.became_gaps
    recorder.tell_gaps = GapTelling(fleet).tell
    recorder.start()
    return recorder


def _retention(
    config: ServerConfig,
    database: Database,
    recording: Database,
    metrics: Metrics,
    fleet: Fleet,
    relay: Relay,
) -> Retention:
    tell = partial(clock_news, database)
    retention = Retention(recording, config.recording, metrics, tell, fleet.owner_of)
    retention.on_deleted = relay.pruned
    return retention


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


def _keep_house(services: Services) -> list[Coroutine[Any, Any, None]]:
    access = services.access
    return [
        _every(1.0, partial(_tick, services)),
        _every(1.0, services.activations.tick),
        _every(1.0, services.relay.tick),
        _every(1.0, access.end_void),
        _every(5.0, access.tidy),
        services.front.run(),
        services.retention.run(),
        services.last_values.run(),
        look_through(services.recording),
        _every(60.0, partial(_trim_audit, services.database, services.config.audit.max_records)),
    ]


async def _tick(services: Services) -> None:
    services.memory.tick()
    await services.fleet.tick()


async def _trim_audit(database: Database, max_records: int) -> None:
    for actor, surplus in (await database.read(partial(audit.surplus, max_records=max_records))).items():
        for begin in range(0, surplus, TRIMMED_AT_ONCE):
            part = min(TRIMMED_AT_ONCE, surplus - begin)
            await database.write(partial(audit.delete_oldest, actor=actor, records=part))


async def _every(seconds: float, job: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await job()
        except Exception:
            # A full disk now must not end presence for ever: the next time tries again.
            _logger.exception("housekeeping failed")


async def _listen(
    runner: web.AppRunner, config: ServerConfig, services: Services, damaged: asyncio.Event
) -> RunningServer:
    host, port = config.server.host, config.server.port
    try:
        await PatientSite(runner, host, port).start()
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
