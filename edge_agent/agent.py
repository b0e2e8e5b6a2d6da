"""The running agent: every configured dongle read into its lane, all lanes over one uplink."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from can_stream.frames.batches import id_text
from can_stream.lanes.sender import LaneSender
from can_stream.protocol.control import DevicesReport, Discovery, DongleInfo, Hello
from can_stream.protocol.identity import identifier_from
from can_stream.service_manager import ServiceManager
from edge_agent.bus.reader import SourceReader
from edge_agent.config.sections import AgentConfig
from edge_agent.discovery.new_ids import NewIds
from edge_agent.discovery.seen_ids import BusId
from edge_agent.dongles.database_keeper import DatabaseKeeper
from edge_agent.dongles.dongle import Dongle, DongleEvents
from edge_agent.dongles.link_polling import BusWatch
from edge_agent.dongles.plugging import PlugWatch, inventory_for
from edge_agent.draining import acknowledged, drain
from edge_agent.host.clock import Clock
from edge_agent.host.state_directory import state_directory
from edge_agent.lanes.spooled_lane import SpooledLane
from edge_agent.spool.spool import Spool
from edge_agent.state import State, StatusCode
from edge_agent.status.log_forwarding import LogForwarder
from edge_agent.status.reporting import Reporter
from edge_agent.status.socket import serving_status, socket_path
from edge_agent.status.watchdog import Progress
from edge_agent.uplink.credentials import read_agent_token
from edge_agent.uplink.hello import hello_of, new_start_id
from edge_agent.uplink.uplink import Answers, Uplink, UplinkState

if TYPE_CHECKING:
    from can_stream.databases.configured import ConfiguredDatabases
    from edge_agent.uplink.budget import Stage
    from edge_agent.uplink.budget_keeper import BudgetKeeper

# How long the first hello waits for the databases that it is to name.
DATABASES_SECONDS: Final = 10.0
_logger: Final = logging.getLogger(__name__)


class Agent:
    """Reads, streams and reports until told to stop."""

    def __init__(
        self, config: AgentConfig, clock: Clock | None = None, manager: ServiceManager | None = None
    ) -> None:
        self._config = config
        self._clock = clock or Clock()
        self._manager = manager or ServiceManager()
        self._start_id = new_start_id()
        inventory = inventory_for(config.dongles)
        claimed = [section.channel for section in config.dongles]
        seen_file = state_directory() / f"seen-ids-{config.agent_id}.json"
        self._new_ids = NewIds(seen_file, self._new_id, self._clock)
        events = DongleEvents(self._unknown_id, self._new_ids.look, self._bus_changed)
        self._dongles = [
            Dongle(
                section, config.uplink, self._start_id, self._clock, events, inventory, claimed, config.spool
            )
            for section in config.dongles
        ]
        self._lanes = [lane for dongle in self._dongles for lane in self._lanes_of(dongle)]
        self._databases = DatabaseKeeper(self._dongles, self._use, self._manager.ready)
        self._told: list[DongleInfo] | None = None
        server = config.server
        self._uplink = Uplink(
            server.url,
            read_agent_token(server.token_file),
            Answers(
                self._hello,
                self._table,
                self._uplink_changed,
                self._heartbeat,
            ),
            self._lanes,
            clock=self._clock,
            ca_file=None if server.ca_file is None else Path(server.ca_file),
        )
        self._spool = self._make_spool()
        self._readers = [self._reader(dongle) for dongle in self._dongles]
        self._watch = BusWatch(self._dongles, self._readers, self._uplink)
        places = {one.dongle_id: one.whereabouts for one in self._dongles if one.whereabouts is not None}
        self._plugs = (
            None
            if inventory is None
            else PlugWatch(inventory, places, self._try_now, self._uplink.say, self._clock)
        )
        self._budget = self._budget_keeper(config.uplink.max_bytes_per_day)
        self._stage = 0
        self._progress = Progress(
            self._manager, self._readers, self._clock, lambda: [one.bus.state for one in self._dongles]
        )
        self._reporter = Reporter(
            config,
            self._start_id,
            self._dongles,
            self._readers,
            self._uplink,
            self._clock,
            budget=None if self._budget is None else self._budget.budget,
            spool=self._spool,
        )
        self._forwarder = LogForwarder(self._uplink.say, self._clock)

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
                dongle.section = replace(dongle.section, databases=new.databases, signals=new.signals)
        self._databases.load_again()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, or all logs are played and acknowledged. A part that fails ends it all."""
        path = socket_path(self._config.agent.status_socket, self._config.agent_id)
        with self._forwarder.attached():
            async with serving_status(path, self._reporter.snapshot):
                await self._run(stop)

    async def _run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            uplink = group.create_task(self._stream(), name="uplink")
            spooling = None if self._spool is None else group.create_task(self._spool.run(), name="spool")
            loading = group.create_task(self._databases.run())
            for reader in self._readers:
                reader.start()
            watching = [group.create_task(job) for job in self._watching()]
            self._manager.ready()
            feeds = [
                group.create_task(dongle.feed(reader, self._uplink), name=f"feed {dongle.dongle_id}")
                for dongle, reader in zip(self._dongles, self._readers, strict=True)
            ]
            stopped = group.create_task(stop.wait())
            ended = group.create_task(self._played(feeds))
            await asyncio.wait([stopped, ended], return_when=asyncio.FIRST_COMPLETED)
            self._manager.stopping()
            loading.cancel()
            for dongle in self._dongles:
                dongle.stop_waiting()
            for reader in self._readers:
                await reader.stop()
            await asyncio.wait(feeds)
            await drain(self._uplink, uplink, self._lanes, self._spool, spooling)
            self._new_ids.write()
            for task in (uplink, *watching, loading, stopped, ended):
                task.cancel()

    def _watching(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What looks after the rest and tells of it, for as long as the agent runs."""
        yield self._progress.keep_told()
        yield self._reporter.run()
        yield self._forwarder.run()
        yield self._new_ids.run()
        yield self._watch.keep_watched()
        if self._plugs is not None:
            yield self._plugs.run()
        if self._budget is not None:
            yield self._budget.run()

    async def _stream(self) -> None:
        """Connects once it can be said by which tables the dongles are decoded (without one, a server forgets
        the values it has) and what the spool holds (what is not named, a server takes for lost)."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._databases.known.wait(), DATABASES_SECONDS)
        if self._spool is not None:
            await self._spool.opened.wait()
        await self._uplink.run()

    def _use(self, dongle: Dongle, databases: ConfiguredDatabases | None) -> None:
        if databases is not None:
            level = logging.WARNING if databases.problems else logging.INFO
            self._log_of(dongle.dongle_id, level, databases.message)
            if dongle.decoder is None:
                self._lanes.append(dongle.add_decoder())
                self._uplink.reconnect()
        dongle.use(databases)
        self._tell_devices()
        self._reporter.changed()

    def _tell_devices(self) -> None:
        infos = self._infos()
        if self._told is not None and infos != self._told:
            self._told = infos
            self._uplink.say(DevicesReport(infos))
        self._reporter.changed()

    def _lanes_of(self, dongle: Dongle) -> list[LaneSender]:
        if dongle.section.databases:
            dongle.add_decoder()
        return dongle.lanes

    def _hello(self) -> Hello:
        self._told = self._infos()
        return hello_of(self._config.agent_id, self._start_id, self._told, self._clock)

    def _infos(self) -> list[DongleInfo]:
        return [dongle.info for dongle in self._dongles]

    def _table(self, table_hash: str) -> bytes | None:
        return next(
            (dongle.tables[table_hash] for dongle in self._dongles if table_hash in dongle.tables), None
        )

    def _unknown_id(self, dongle_id: str, arbitration_id: int, is_extended: bool) -> None:
        self._discovered("UnknownId", dongle_id, (arbitration_id, is_extended))

    def _budget_keeper(self, max_bytes: int) -> BudgetKeeper | None:
        if not max_bytes:
            return None
        # Not at the top: an agent without a budget has no memory for it.
        from edge_agent.uplink.budget_keeper import BudgetKeeper  # noqa: PLC0415

        path = state_directory() / f"budget-{self._config.agent_id}.json"
        return BudgetKeeper(max_bytes, path, self._uplink, self._clock, self._limit)

    def _limit(self, stage: Stage) -> None:
        """What the byte budget allows, at each look at it."""
        for dongle in self._dongles:
            dongle.limit(stage)
        if self._budget is None or stage == self._stage:
            return
        self._stage = stage
        _logger.log(logging.WARNING if stage else logging.INFO, "uplink: %s", self._budget.budget.message)
        self._uplink.wake()
        self._reporter.changed()

    def _try_now(self) -> None:
        for reader in self._readers:
            reader.try_now()

    def _new_id(self, dongle_id: str, bus_id: BusId) -> bool:
        """Only while somebody hears it: until then it waits where it is kept."""
        return self._uplink.state.connected and self._discovered("NewId", dongle_id, bus_id)

    def _discovered(self, kind: str, dongle_id: str, bus_id: BusId) -> bool:
        shown = id_text(bus_id[0], extended=bus_id[1])
        slug = identifier_from(f"{shown.removeprefix('0x')}-{dongle_id}")
        details = {"id": shown, "is_extended": bus_id[1]}
        return self._uplink.say(Discovery(self._clock.wall_ns(), kind, slug, dongle_id, details))

    async def _played(self, feeds: list[asyncio.Task[None]]) -> None:
        await asyncio.wait(feeds)
        await acknowledged(self._uplink, self._lanes)

    def _make_spool(self) -> Spool | None:
        """None where nothing is spooled: logs wait instead."""
        if not any(isinstance(lane, SpooledLane) for lane in self._lanes):
            return None
        return Spool(
            self._config.spool,
            self._lanes,
            self._clock,
            wake=self._uplink.wake,
            greet_again=self._uplink.reconnect,
            on_state=self._spool_changed,
        )

    def _spool_changed(self, state: State) -> None:
        failed = state.code is not StatusCode.OK
        _logger.log(logging.WARNING if failed else logging.INFO, "spool: %s", state.message)
        self._reporter.changed()

    def _reader(self, dongle: Dongle) -> SourceReader:
        return SourceReader(
            dongle.dongle_id,
            dongle.open_source,
            dongle.bus.take_source,
            clock=self._clock,
            remark=dongle.remark,
        )

    def _bus_changed(self, dongle_id: str, state: State) -> None:
        bad = state.code in (StatusCode.FAILED, StatusCode.DEGRADED)
        self._log_of(dongle_id, logging.WARNING if bad else logging.INFO, state.message, state.fault)
        self._tell_devices()

    def _uplink_changed(self, state: UplinkState) -> None:
        self._progress.uplink_changed(state)
        _logger.log(logging.INFO if state.connected else logging.WARNING, "uplink: %s", state.message)
        if state.connected:
            self._reporter.connected()

    def _heartbeat(self) -> None:
        self._reporter.tell_all()

    def _log_of(self, dongle_id: str, level: int, message: str, kind: str = "") -> None:
        extra = {"dongle_id": dongle_id, "kind": kind}
        _logger.log(level, "%s: %s", dongle_id, message, extra=extra)


def _rest_of(config: AgentConfig) -> AgentConfig:
    """What `reload` does not take over."""
    return replace(config, dongles=[replace(one, databases=[], signals=[]) for one in config.dongles])
