"""The running agent: its parts put together, begun and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from can_stream.lanes.sender import LaneSender
from can_stream.protocol.control import RelaySource
from can_stream.service_manager import ServiceManager
from can_stream.strict_config import ConfigError, Problem
from edge_agent.announcing import Announcer, Hearers
from edge_agent.config.scoping import relayed_to
from edge_agent.config.sections import AgentConfig
from edge_agent.discovery.new_ids import NewIds
from edge_agent.dongles.database_keeper import DatabaseKeeper
from edge_agent.dongles.dongle import Dongle, DongleEvents
from edge_agent.dongles.link_polling import LinkPolling
from edge_agent.dongles.pipeline import LaneSections
from edge_agent.dongles.plugging import PlugWatch, inventory_for
from edge_agent.draining import acknowledged, drain
from edge_agent.host.clock import Clock
from edge_agent.host.inventory import Inventory
from edge_agent.host.network_watch import NetworkWatch
from edge_agent.host.runtime_directory import relay_directory, relay_record
from edge_agent.host.state_directory import state_directory
from edge_agent.lanes.spooled_window import SpooledWindow
from edge_agent.relay.side import may_be_source, relay_side
from edge_agent.relay.told import ToldActivations
from edge_agent.spool.spool import Spool
from edge_agent.status.log_forwarding import LogForwarder
from edge_agent.status.reporting import Reporter
from edge_agent.status.socket import serving_status, socket_path
from edge_agent.status.watchdog import Watchdog
from edge_agent.uplink.connection import Answers
from edge_agent.uplink.credentials import read_agent_token, token_files
from edge_agent.uplink.hello import new_start_id
from edge_agent.uplink.uplink import Uplink

if TYPE_CHECKING:
    from can_stream.frames.batches import FrameBatch
    from edge_agent.budget.budget_keeper import BudgetKeeper
    from edge_agent.relay.relaying import Relay

# How long the first hello waits for the databases that it is to name.
DATABASES_SECONDS: Final = 10.0
# And for a spool that is opened: what comes later is said by another hello.
SPOOL_SECONDS: Final = 2.0
_logger: Final = logging.getLogger(__name__)

Watch = Callable[[asyncio.Task[None]], asyncio.Task[None]]


class Agent:
    """Reads, streams and reports until told to stop."""

    def __init__(
        self, config: AgentConfig, clock: Clock | None = None, manager: ServiceManager | None = None
    ) -> None:
        self._config = config
        self._clock = clock or Clock()
        self._manager = manager or ServiceManager()
        start_id = new_start_id()
        self._told = ToldActivations(state_directory() / f"activations-{config.agent_id}.json")
        news = self._announcer = Announcer(config.agent_id, start_id, self._clock)
        seen_file = state_directory() / f"seen-ids-{config.agent_id}.json"
        self._new_ids = NewIds(seen_file, news.new_id, self._clock)
        inventory = inventory_for(config.dongles)
        self._dongles = self._make_dongles(start_id, inventory)
        lanes = [lane for dongle in self._dongles for lane in dongle.pipeline.lanes]
        self._refused: list[Problem] | None = None
        self._stop = asyncio.Event()
        self._databases = DatabaseKeeper(self._dongles, news.databases_loaded, self._have_databases)
        self._uplink = self._make_uplink(lanes)
        self._spool = self._make_spool()
        self._relay = self._make_relay(start_id)
        self._link_polling = LinkPolling(self._dongles)
        self._network = NetworkWatch(self._uplink.network_changed)
        self._plugs = self._make_plug_watch(inventory)
        self._budget = self._make_budget_keeper()
        self._watchdog = Watchdog(
            self._manager,
            [dongle.reader for dongle in self._dongles],
            self._clock,
            lambda: [dongle.bus.state for dongle in self._dongles],
        )
        self._reporter = self._make_reporter(start_id)
        self._forwarder = LogForwarder(self._uplink.say, self._clock)
        news.hearers = Hearers(self._dongles, lanes, self._uplink, self._reporter, self._watchdog)

    def read_keys_again(self) -> None:
        """Token and CA file are read again, and tried at once where nothing is connected."""
        self._uplink.look_at_keys(try_again=True)

    def reload(self, config: AgentConfig) -> None:
        """Takes over the databases and signal rules of a changed file, and loads the databases again."""
        self._manager.reloading()
        sections = {section.id: section for section in config.dongles}
        if _rest_of(config) != _rest_of(self._config):
            _logger.warning("more than databases and signals has changed in the file: restart for it")
        for dongle in self._dongles:
            new = sections.get(dongle.dongle_id)
            if new is not None and new.databases and dongle.section.filters_in_kernel:
                _logger.warning(
                    "%s: its first databases need a restart, for the kernel filters its frames",
                    dongle.dongle_id,
                )
            elif new is not None:
                dongle.section = replace(
                    dongle.section,
                    databases=new.databases,
                    database_options=new.database_options,
                    signals=new.signals,
                )
        self._databases.load_again()

    async def run(self, stop: asyncio.Event, watch: Watch = lambda task: task) -> None:
        """Until `stop` is set, or all logs are played and acknowledged. A part that fails ends it all.

        `watch` is given each part. ConfigError where the databases show at the start that the file cannot be
        meant so.
        """
        self._stop = stop
        path = socket_path(self._config.agent.status_socket, self._config.agent_id)
        with self._forwarder.attached():
            async with serving_status(path, self._reporter.snapshot):
                await self._run(stop, watch)
        if self._refused:
            raise ConfigError(self._refused)

    async def _run(self, stop: asyncio.Event, watch: Watch) -> None:
        async with asyncio.TaskGroup() as group:

            def begin(job: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
                return watch(group.create_task(job, name=name))

            uplink = begin(self._stream(), "uplink")
            spooling = None if self._spool is None else begin(self._spool.run(), "spool")
            loading = begin(self._databases.run(), "databases")
            for dongle in self._dongles:
                dongle.reader.start()
            watching = [begin(job, name) for name, job in self._watching()]
            self._manager.ready()
            feeds = [begin(dongle.feed(), f"feed {dongle.dongle_id}") for dongle in self._dongles]
            stopped = group.create_task(stop.wait())
            ended = begin(self._played(feeds), "end of the logs")
            await asyncio.wait([stopped, ended], return_when=asyncio.FIRST_COMPLETED)
            self._manager.stopping()
            loading.cancel()
            for dongle in self._dongles:
                dongle.pipeline.begin()
            for dongle in self._dongles:
                await dongle.reader.stop()
            await asyncio.wait(feeds)
            await drain(self._uplink, uplink, self._uplink.lanes, self._spool, spooling)
            self._new_ids.write()
            for task in (uplink, *watching, loading, stopped, ended):
                task.cancel()

    def _watching(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What looks after the rest and tells of it, for as long as the agent runs."""
        yield "watchdog", self._watchdog.keep_told()
        yield "status", self._reporter.run()
        yield "log messages", self._forwarder.run()
        yield "new ids", self._new_ids.run()
        yield "links", self._link_polling.run()
        yield "network", self._network.run()
        yield "keys", self._uplink.keep_keys()
        if self._relay is not None:
            yield "relay", self._relay.run()
        if self._plugs is not None:
            yield "plugs", self._plugs.run()
        if self._budget is not None:
            yield "budget", self._budget.run()

    async def _stream(self) -> None:
        """Connects once it can be said by which tables the dongles are decoded (without one, a server forgets
        the values it has) and, where that is known soon, what the spool holds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DATABASES_SECONDS):
                await self._databases.known.wait()
        if self._spool is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SPOOL_SECONDS):
                    await self._spool.opened.wait()
        await self._uplink.run()

    async def _spool_is_read(self) -> None:
        if self._spool is not None:
            await self._spool.opened.wait()

    def _carry(self, source: RelaySource) -> None:
        """The server says what a dongle's frames are carried for; this gateway's file says if they may be."""
        dongle = next((one for one in self._dongles if one.dongle_id == source.dongle_id), None)
        if dongle is None or not may_be_source(self._config, dongle.section):
            return
        if self._told.take(source.dongle_id, source.activation):
            asyncio.get_running_loop().run_in_executor(None, self._told.write)
        dongle.carry(source.activation or "")

    async def _played(self, feeds: list[asyncio.Task[None]]) -> None:
        await asyncio.wait(feeds)
        await acknowledged(self._uplink, self._uplink.lanes)

    def _hear(self, dongle_id: str, frames: FrameBatch) -> FrameBatch:
        """What was read, where a sink may wait for its own among it, and knows better which are."""
        if self._relay is not None:
            frames = self._relay.hear(dongle_id, frames)
        self._new_ids.look(dongle_id, frames)
        return frames

    def _have_databases(self) -> None:
        """A gate that could never be known ends the agent at its start: nothing would ever come."""
        is_start, self._refused = self._refused is None, self._refused or []
        if self._config.relay.gate:
            self._check_gates(is_start=is_start)
        self._manager.ready()

    def _check_gates(self, *, is_start: bool) -> None:
        # Not at the top: an agent without gates has no memory for decoding.
        from edge_agent.transmit.gate_names import unknown_signals  # noqa: PLC0415

        loaded = [(one.dongle_id, one.databases) for one in self._dongles]
        tables = {name: one.table for name, one in loaded if one is not None and not one.problems}
        problems = list(unknown_signals(self._config.relay, self._config.dongles, tables))
        if problems and is_start:
            self._refused = problems
            self._stop.set()
        for problem in problems:
            _logger.error("nothing is relayed while this gate is there: %s", problem)

    # -- made once

    def _make_uplink(self, lanes: list[LaneSender]) -> Uplink:
        config, news = self._config, self._announcer
        return Uplink(
            config.server.url,
            read_agent_token(config.server.token_file),
            Answers(
                news.hello, news.table, news.uplink_changed, news.heartbeat, self._spool_is_read, self._carry
            ),
            lanes,
            clock=self._clock,
            ca_file=None if config.server.ca_file is None else Path(config.server.ca_file),
            token_files=token_files(config.server.token_file),
        )

    def _make_dongles(self, start_id: str, inventory: Inventory | None) -> list[Dongle]:
        config, news = self._config, self._announcer
        sections = LaneSections(start_id, config.uplink, config.spool, self._activations())
        events = DongleEvents(news.unknown_id, self._hearing(), news.bus_changed)
        claimed = [section.channel for section in config.dongles]
        dongles = [
            Dongle(section, sections, self._clock, events, inventory, claimed) for section in config.dongles
        ]
        for dongle in dongles:
            dongle.relay_side = partial(relay_side, config, dongle.section)
            if dongle.section.databases:
                dongle.pipeline.add_decoder()
        return dongles

    def _hearing(self) -> Callable[[str, FrameBatch], FrameBatch]:
        """`_hear`, and what was left in drivers while groups might transmit there."""
        config, runtime = self._config, relay_directory(self._config.agent_id)
        told = {one.id for one in relayed_to(config.relay, config.dongles)}
        others = [one.id for one in config.dongles if one.id is not None and one.id not in told]
        if not any(os.access(relay_record(runtime, name), os.R_OK) for name in others):
            return self._hear
        # Not at the top: an agent that nothing was relayed to has no memory for it.
        from edge_agent.relay.leftover.hearing import hearing  # noqa: PLC0415

        return hearing(self._hear, runtime, others, self._clock)

    def _activations(self) -> dict[str, str]:
        """What this start is carried for from its beginning, also without a network."""
        may = {one.id for one in self._config.dongles if may_be_source(self._config, one)}
        return {dongle_id: name for dongle_id, name in self._told.activations.items() if dongle_id in may}

    def _is_relayed_to(self) -> bool:
        """Whether the file lets groups put frames on the bus of any dongle."""
        return bool(relayed_to(self._config.relay, self._config.dongles))

    def _make_relay(self, start_id: str) -> Relay | None:
        """None where nothing may be put on any bus: there is no way in then."""
        if not self._is_relayed_to():
            return None
        # Not at the top: an agent that nothing is relayed to has no memory for it.
        from edge_agent.dongles.relayed import relay_of  # noqa: PLC0415

        news = self._announcer
        return relay_of(self._config, self._dongles, self._uplink, start_id, self._clock, news.relay_changed)

    def _make_reporter(self, start_id: str) -> Reporter:
        return Reporter(
            self._config,
            start_id,
            self._dongles,
            self._uplink,
            self._clock,
            None if self._budget is None else self._budget.budget,
            self._spool,
            list if self._relay is None else self._relay.figures,
        )

    def _make_plug_watch(self, inventory: Inventory | None) -> PlugWatch | None:
        """None where nothing is plugged in anywhere."""
        if inventory is None:
            return None
        places = {one.dongle_id: one.whereabouts for one in self._dongles if one.whereabouts is not None}
        return PlugWatch(inventory, places, self._announcer.adapters_changed, self._uplink.say, self._clock)

    def _make_budget_keeper(self) -> BudgetKeeper | None:
        if not self._config.uplink.max_bytes_per_day:
            return None
        # Not at the top: an agent without a budget has no memory for it.
        from edge_agent.budget.budget_keeper import BudgetKeeper  # noqa: PLC0415

        path = state_directory() / f"budget-{self._config.agent_id}.json"
        limit, news = self._config.uplink.max_bytes_per_day, self._announcer
        return BudgetKeeper(limit, path, self._uplink, self._clock, news.budget_looked_at)

    def _make_spool(self) -> Spool | None:
        """None where nothing is spooled: logs wait instead."""
        if not any(isinstance(lane.window, SpooledWindow) for lane in self._uplink.lanes):
            return None
        return Spool(
            self._config.spool,
            self._uplink.lanes,
            self._clock,
            greet_again=self._uplink.reconnect,
            on_state=self._announcer.spool_changed,
        )


def _rest_of(config: AgentConfig) -> AgentConfig:
    """What `reload` does not take over."""
    rest = [replace(one, databases=[], database_options=[], signals=[]) for one in config.dongles]
    return replace(config, dongles=rest)
