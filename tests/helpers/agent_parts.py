"""The parts of an agent, put together as `agent.py` does, for tests that run some of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from can_stream.databases.configured import ConfiguredDatabases
from can_stream.frames.batches import batch_of
from can_stream.service_manager import ServiceManager
from can_stream.signals.model import SignalModel
from edge_agent.announcing import Announcer, Hearers
from edge_agent.budget.budget import Budget
from edge_agent.config.dongle import DongleSection
from edge_agent.config.sections import AgentConfig, AgentSection, ServerSection, SpoolSection, UplinkSection
from edge_agent.dongles.dongle import Dongle, DongleEvents
from edge_agent.dongles.pipeline import LaneSections
from edge_agent.host.clock import Clock
from edge_agent.spool.spool import Spool
from edge_agent.status.reporting import Reporter
from edge_agent.status.watchdog import Watchdog
from edge_agent.uplink.connection import Answers
from edge_agent.uplink.hello import new_start_id
from edge_agent.uplink.uplink import Uplink
from tests.helpers.signal_tables import table_of

TOKEN: Final = "cea_agent_secret"
NOWHERE: Final = "http://127.0.0.1:1"


class StandingClock(Clock):
    """Stands at what the test says, in seconds since the boot and since 1970."""

    def __init__(self, seconds: float = 1000.0, wall_seconds: int = 1_766_417_462) -> None:
        self.seconds = seconds
        self.wall_seconds = wall_seconds

    def monotonic_ns(self) -> int:
        return int(self.seconds * 1e9)

    def wall_ns(self) -> int:
        return self.wall_seconds * 10**9

    def synchronised(self) -> bool:
        return True


class AgentParts:
    """Agent `van7`; nothing of it runs yet."""

    def __init__(
        self,
        dongles: Sequence[DongleSection],
        url: str = NOWHERE,
        clock: Clock | None = None,
        budget: Budget | None = None,
        spool: SpoolSection | None = None,
    ) -> None:
        self.clock = clock = clock or Clock()
        start_id = new_start_id()
        self.announcer = news = Announcer("van7", start_id, clock)
        sections = LaneSections(start_id, UplinkSection(), spool)
        events = DongleEvents(news.unknown_id, state=news.bus_changed)
        self.dongles = [Dongle(section, sections, clock, events) for section in dongles]
        self.lanes = [lane for dongle in self.dongles for lane in dongle.pipeline.lanes]
        answers = Answers(news.hello, news.table, news.uplink_changed, news.heartbeat)
        self.uplink = Uplink(url, TOKEN, answers, self.lanes, clock=clock)
        self.watchdog = Watchdog(ServiceManager({}), [dongle.reader for dongle in self.dongles], clock)
        self.spool = None if spool is None else self._spool(spool)
        config = AgentConfig(ServerSection(url), list(dongles), AgentSection("van7"))
        self.reporter = Reporter(config, start_id, self.dongles, self.uplink, clock, budget, self.spool)
        news.hearers = Hearers(self.dongles, self.lanes, self.uplink, self.reporter, self.watchdog)

    def _spool(self, section: SpoolSection) -> Spool:
        return Spool(
            section,
            self.lanes,
            self.clock,
            greet_again=self.uplink.reconnect,
            on_state=self.announcer.spool_changed,
        )


def log_section(dongle_id: str = "van7-log", **changes: Any) -> DongleSection:
    """A dongle that is read from nowhere, for nobody starts its reader."""
    return DongleSection("/home/me/drive.log", id=dongle_id, interface="log", **changes)


def slcan_section(port: str, dongle_id: str = "van7-can0", **changes: Any) -> DongleSection:
    """A dongle at a serial port."""
    return DongleSection(port, id=dongle_id, interface="slcan", bitrate=500_000, **changes)


def databases(name: str = "Drive", *problems: str) -> ConfiguredDatabases:
    """One database with one message of this name, one signal in it; and what could not be loaded."""
    table = table_of({name: [SignalModel("Gear", 0, 8)]})
    return ConfiguredDatabases(table, (Path(f"{name}.dbc"),), problems)


def put_frames(dongle: Dongle, count: int) -> None:
    """So many frames are in one packet of its frames lane."""
    rows = [(number, 0x100, 0, 1, bytes([number])) for number in range(count)]
    dongle.pipeline.frames.take_frames(batch_of(rows), 0.0)


def put_values(dongle: Dongle, count: int, now_seconds: float = 0.0) -> None:
    """So many values are in its signals lane, by its databases of one signal."""
    decoder = dongle.pipeline.decoder
    assert decoder is not None
    decoder.take_frames(batch_of([(n, 0x100, 0, 8, bytes([n] + [0] * 7)) for n in range(count)]), now_seconds)
