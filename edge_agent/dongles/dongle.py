"""One dongle of the running agent: who it is, where it is plugged in, and how it stands."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.control import MAX_TABLES, DongleInfo, RelaySide
from edge_agent.bus.opening import open_source
from edge_agent.bus.reader import SourceReader
from edge_agent.bus.source import Dropped, Exemplary, Filtering, Following, Source
from edge_agent.config.dongle import PLUGGABLE, DongleSection
from edge_agent.dongles.pipeline import Heard, LaneSections, Pipeline
from edge_agent.dongles.whereabouts import Whereabouts
from edge_agent.health.bus_monitor import BusMonitor
from edge_agent.host.clock import Clock
from edge_agent.host.inventory import Inventory
from edge_agent.state import State

if TYPE_CHECKING:
    from can_stream.databases.configured import ConfiguredDatabases
    from edge_agent.host.can_link import CanLink


class DongleEvents(Struct, frozen=True):
    """Whom a dongle tells, by its id first: of each arbitration id that no database knows once, of all frames
    that are read, and of each change of its bus. `frames` gives them back, own ones marked.
    """

    unknown_id: Callable[[str, int, bool], object] = lambda *_: None
    frames: Callable[[str, FrameBatch], FrameBatch] = lambda _, frames: frames
    state: Callable[[str, State], None] = lambda *_: None


NO_EVENTS: Final = DongleEvents()


class Dongle:
    """`reader` reads its bus, `pipeline` moves what is read into its lanes, `bus` is how its bus stands.

    `whereabouts` is which adapter of the inventory it is, None for what is plugged in nowhere. `tables` are
    the signal tables that it is or was decoded by, packed, by their hash. `link`: what the kernel said last
    of its interface. `relay_side`: what a relay may do with it.
    """

    def __init__(
        self,
        section: DongleSection,
        sections: LaneSections,
        clock: Clock,
        events: DongleEvents = NO_EVENTS,
        inventory: Inventory | None = None,
        claimed: Collection[str] = (),
    ) -> None:
        assert section.id is not None
        self.dongle_id: Final = section.id
        self.section = section
        self.databases: ConfiguredDatabases | None = None
        self.tables: dict[str, bytes] = {}
        self.link: CanLink | None = None
        self.relay_side: Callable[[], RelaySide | None] = lambda: None
        self._activation = sections.activations.get(section.id, "")
        self._clock = clock
        self._inventory = inventory
        self._answered: set[str] = set()
        self._source: Source | None = None
        self._link_ns: int | None = None
        self.whereabouts: Final = (
            None if inventory is None or section.interface not in PLUGGABLE else Whereabouts(section, claimed)
        )
        self.bus: Final = BusMonitor(
            section, clock.monotonic_seconds, partial(events.state, section.id), lambda: self.channel
        )
        heard = Heard(partial(events.unknown_id, section.id), partial(events.frames, section.id))
        self.pipeline: Final = Pipeline(section, sections, clock, heard)
        self.reader: Final = SourceReader(
            section.id, self._open_source, self.bus.take_source, clock=clock, remark=self._remark
        )

    @property
    def channel(self) -> str:
        """What its interface or port is called now; its `device_id` while it is not there."""
        return self.section.place if self.whereabouts is None else self.whereabouts.channel

    @property
    def malformed_example(self) -> str:
        """The newest line of its bus that could not be read, "" where there is none or nobody keeps it."""
        return self._source.malformed_example if isinstance(self._source, Exemplary) else ""

    @property
    def info(self) -> DongleInfo:
        """The dongle as the server is told of it."""
        more = {"signal_tables": list(self.tables), "relay": self.relay_side()}
        info = msgspec.structs.replace(self.section.info(), **more)
        at = self.whereabouts
        return (
            info if at is None else msgspec.structs.replace(info, channel=at.channel, device_id=at.device_id)
        )

    @property
    def is_carried(self) -> bool:
        """Whether its frames are carried for an activation."""
        return bool(self._activation)

    def carry(self, activation: str) -> None:
        """Its frames are carried for that from here on, "" for none: all of them, whatever its section says.

        What the kernel does not filter any more, it filters again when the bus is opened again.
        """
        self._activation = activation
        give = activation and self.section.filters_in_kernel
        # The newest, for a source may take its time.
        self.reader.in_source(
            _give_everything if give else _leave, lambda: self.pipeline.mark(self._activation)
        )

    async def feed(self) -> None:
        """Moves what is read into the lanes until the reader ends."""
        await self.pipeline.feed(self.reader, self.bus.take_item)

    def use(self, databases: ConfiguredDatabases | None) -> None:
        """Decodes by these from now on, by the section's rules; None where it has none."""
        self.pipeline.begin()
        self.databases = databases
        if self.pipeline.decoder is None or databases is None:
            return
        self.pipeline.decode_by(databases.table, self.section.signals)
        if databases.table is not None:
            current = databases.table.hash.hex()
            earlier = {name: table for name, table in self.tables.items() if name != current}
            kept = list(earlier.items())[: MAX_TABLES - 1]
            self.tables = {current: databases.table.to_bytes(), **dict(kept)}

    def take_link(self, link: CanLink | None) -> None:
        """What the kernel says of its interface; a bus that is dead for all it says is opened again."""
        if self.bus.health is None:
            return
        self.link = link
        counts, now_ns = self.reader.counts, self._clock.wall_ns()
        frames_seen = counts.read + counts.lost["kernel"] + counts.lost["driver"] + self.reader.malformed
        overruns, failure = self.bus.health.take_link(link, frames_seen, self._clock.monotonic_seconds())
        if overruns:
            self.pipeline.take_loss(Dropped(None, min(self._link_ns or now_ns, now_ns), now_ns))
        self._link_ns = now_ns
        if failure is not None:
            self.reader.reopen(failure)

    def _open_source(self) -> Source:
        """Opens the bus or log; called in the reading thread. Raises SourceError."""
        at, section = self.whereabouts, self.section
        if self._activation and section.filters_in_kernel:
            section = msgspec.structs.replace(section, frame_filters=[])
        if self._inventory is None or at is None:
            return self._opened(open_source(section, self._clock, self._answered))
        channel = at.locate(self._inventory.adapters())
        located = msgspec.structs.replace(section, channel=channel, device_id=None)
        source = self._opened(open_source(located, self._clock, self._answered))
        at.opened(self._inventory.adapters())
        return source

    def _opened(self, source: Source) -> Source:
        before, self._source = self._source, source
        if before is not None and isinstance(source, Following):
            source.follows(before)
        return source

    def _remark(self) -> str:
        """What is to be said of its source while it is read."""
        return "" if self.whereabouts is None else self.whereabouts.remark


def _give_everything(source: Source) -> None:
    if isinstance(source, Filtering):
        source.give_everything()


def _leave(_: Source) -> None:
    """It filters nothing."""
