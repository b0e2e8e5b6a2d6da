"""What the news of one part of the agent lead to elsewhere: whom it is told, and what is done about it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from can_stream.lanes.sender import LaneSender
from can_stream.protocol.control import (
    DevicesReport,
    DongleInfo,
    Hello,
)
from edge_agent.discovery.id_discoveries import IdDiscoveryKind, id_discovery
from edge_agent.discovery.seen_ids import BusId
from edge_agent.dongles.dongle import Dongle
from edge_agent.host.clock import Clock
from edge_agent.state import State, StatusCode
from edge_agent.status.reporting import Reporter
from edge_agent.status.watchdog import Watchdog
from edge_agent.uplink.hello import hello_of
from edge_agent.uplink.state import UplinkState
from edge_agent.uplink.uplink import Uplink

if TYPE_CHECKING:
    from can_stream.databases.configured import ConfiguredDatabases
    from edge_agent.budget.budget import Budget, Stage

# The name says who tells it: a server shows `agent` as the source of these lines.
_logger: Final = logging.getLogger("edge_agent.agent")


class Hearers(Struct, frozen=True):
    """The parts that hear of others; `lanes` are all those of `dongles`, in the order of hello."""

    dongles: list[Dongle]
    lanes: list[LaneSender]
    uplink: Uplink
    reporter: Reporter
    watchdog: Watchdog


class Announcer:
    """Each method is what one part calls; `hearers` is set before any of them runs."""

    hearers: Hearers

    def __init__(self, agent_id: str, start_id: str, clock: Clock) -> None:
        self._agent_id = agent_id
        self._start_id = start_id
        self._clock = clock
        self._told: list[DongleInfo] | None = None
        self._stage = 0

    # -- the uplink asks, and is told of

    def hello(self) -> Hello:
        """What to say at each connection."""
        self._told = self._infos()
        return hello_of(self._agent_id, self._start_id, self._told, self._clock)

    def table(self, table_hash: str) -> bytes | None:
        """The signal table of this hash, packed."""
        tables = (dongle.tables for dongle in self.hearers.dongles)
        return next((known[table_hash] for known in tables if table_hash in known), None)

    def uplink_changed(self, state: UplinkState) -> None:
        """It has come into this state, or into the same once more."""
        self.hearers.watchdog.uplink_changed(state)
        _logger.log(logging.INFO if state.connected else logging.WARNING, "uplink: %s", state.message)
        if state.connected:
            self.hearers.reporter.connected()

    def heartbeat(self) -> None:
        """A heartbeat was sent: with it goes how everything stands."""
        self.hearers.reporter.tell_all()

    # -- dongles and what looks after them

    def databases_loaded(self, dongle: Dongle, databases: ConfiguredDatabases | None) -> None:
        """A dongle has other databases from now on; its first ones give it one more lane."""
        if databases is not None:
            level = logging.WARNING if databases.problems else logging.INFO
            _log_of(dongle.dongle_id, level, databases.message)
            if dongle.pipeline.decoder is None:
                self.hearers.lanes.append(dongle.pipeline.add_decoder())
                self.hearers.uplink.reconnect()
        dongle.use(databases)
        self._tell_devices()

    def bus_changed(self, dongle_id: str, state: State) -> None:
        """A dongle's bus stands differently."""
        bad = state.code in (StatusCode.FAILED, StatusCode.DEGRADED)
        _log_of(dongle_id, logging.WARNING if bad else logging.INFO, state.message, state.fault)
        self._tell_devices()

    def relay_changed(self) -> None:
        """What the relay may put on a bus, or whether frames can come, is different."""
        self._tell_devices()

    def adapters_changed(self) -> None:
        """Something was plugged in or out: whoever waits for an adapter looks at once."""
        for dongle in self.hearers.dongles:
            dongle.reader.try_now()

    def unknown_id(self, dongle_id: str, arbitration_id: int, is_extended: bool) -> None:
        """No database of the dongle knows this id."""
        self._discovered("UnknownId", dongle_id, (arbitration_id, is_extended))

    def new_id(self, dongle_id: str, bus_id: BusId) -> bool:
        """A bus shows this id for the first time; False while nobody hears it: it waits where it is kept."""
        return self.hearers.uplink.state.connected and self._discovered("NewId", dongle_id, bus_id)

    # -- spool and budget

    def spool_changed(self, state: State) -> None:
        """The disk queue stands differently."""
        failed = state.code is not StatusCode.OK
        _logger.log(logging.WARNING if failed else logging.INFO, "spool: %s", state.message)
        self.hearers.reporter.changed()

    def budget_looked_at(self, stage: Stage, budget: Budget) -> None:
        """What the byte budget allows, at each look at it."""
        for dongle in self.hearers.dongles:
            dongle.pipeline.limit(stage)
        if stage == self._stage:
            return
        self._stage = stage
        _logger.log(logging.WARNING if stage else logging.INFO, "uplink: %s", budget.message)
        self.hearers.reporter.changed()

    # -- inside

    def _tell_devices(self) -> None:
        infos = self._infos()
        if self._told is not None and infos != self._told:
            self._told = infos
            self.hearers.uplink.say(DevicesReport(infos))
        self.hearers.reporter.changed()

    def _infos(self) -> list[DongleInfo]:
        return [dongle.info for dongle in self.hearers.dongles]

    def _discovered(self, kind: IdDiscoveryKind, dongle_id: str, bus_id: BusId) -> bool:
        return self.hearers.uplink.say(id_discovery(kind, dongle_id, bus_id, self._clock.wall_ns()))


def _log_of(dongle_id: str, level: int, message: str, kind: str = "") -> None:
    _logger.log(level, "%s: %s", dongle_id, message, extra={"dongle_id": dongle_id, "kind": kind})
