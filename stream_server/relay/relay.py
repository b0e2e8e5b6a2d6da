"""The directions of all groups, between ingest, the recorder and what sinks are handed.

A direction is here from the first activation of its group in which it was open, for its books and what its
sink has not settled. While it is closed nothing comes to that, and what is left are counts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from can_stream.lanes.holdings import NewGap
from can_stream.lanes.opening import Opening
from can_stream.protocol.lanes_control import LaneHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Packet
from can_stream.text.timestamps import format_timestamp
from stream_server import clock
from stream_server.fleet.fleet import Fleet
from stream_server.groups.activation import loop
from stream_server.groups.activations import Activations
from stream_server.groups.directions import LOG, OPEN, direction
from stream_server.groups.group_state import DirectionBooks
from stream_server.groups.groups import Groups
from stream_server.groups.memberships import Group
from stream_server.relay import relay_store
from stream_server.relay.direction import RelayDirection
from stream_server.relay.link import Link
from stream_server.relay.relay_store import Stored, Way
from stream_server.relay.values import NS, Changes, Served
from stream_server.storage.database import Database

if TYPE_CHECKING:
    from stream_server.recording.recorder import Statements
    from stream_server.recording.recording_store import LaneChange

_NO_AGE_SECONDS: Final = 0.0


class Relay:
    """All directions of one server, in one event loop."""

    def __init__(self, recording: Database, fleet: Fleet, groups: Groups, activations: Activations) -> None:
        self.activations: Final = activations
        self._recording = recording
        self._fleet = fleet
        self._groups = groups
        self._links: dict[Way, Link] = {}
        self._of_source: dict[str, list[Link]] = {}
        self._bells: set[asyncio.Event] = set()
        self.commits = asyncio.Lock()
        """Held while something made up is not committed: the recorder's, so that there is one order."""
        self._made_up: list[tuple[Link, Changes]] = []
        self._dropping: frozenset[Way] = frozenset()
        self._dropped: set[Way] = set()
        self._served: dict[Way, Served | None] = {}

    async def load(self) -> None:
        """What waited when the last server ended, and what is active. StorageError."""
        boot_id, now_ns = clock.boot_id(), clock.boottime_ns()
        await self._recording.write(partial(relay_store.forget_moments, boot_id=boot_id, now_ns=now_ns))
        for way in await self._recording.read(relay_store.ways):
            stored = await self._recording.read(partial(relay_store.load, way=way))
            group = self._groups.of_dongle(way.source_dongle_id)
            last = None if group is None else self.activations.of(group)
            if group is None or last is None or way.sink_dongle_id not in group.dongle_ids:
                self._dropped.add(way)
                continue
            self._served[way] = stored.serving
            # Whether it is on and open is seen below; if not, all that waited are counts.
            self._add(way, group, stored).direction.activate(last.name, dry_run=last.asked.dry_run)
        self.activations.on_change = self.refresh
        self.activations.books_of = self.books_of
        self.activations.on_deleted = self._deleted
        self.activations.on_listed = self._ring
        for group in self._groups.all():
            self.refresh(group)

    # -- groups

    def refresh(self, group: Group) -> None:
        """An activation, or what a gateway allows, may be another: from this moment on."""
        on = self.activations.on(group)
        a, b = self.activations.sides(group)
        for pinned, source, sink in ((0, a, b), (1, b, a)):
            way = Way(source.dongle_id, sink.dongle_id)
            link = self._links.get(way)
            is_open = direction(source, sink) == OPEN
            if on is not None and is_open:
                link = link or self._add(way, group, Stored())
                link.from_log = LOG in (on.pins[pinned].interface, source.facts.interface)
                link.direction.max_age_ns = int((sink.allows.max_age_seconds or _NO_AGE_SECONDS) * NS)
                if link.direction.activation != on.name:
                    link.direction.activate(on.name, dry_run=on.asked.dry_run, now_ns=clock.boottime_ns())
            elif link is not None and link.direction.activation:
                link.direction.deactivate()
        self._ring()

    def books_of(self, group: Group) -> tuple[DirectionBooks, DirectionBooks]:
        """From A to B, from B to A."""
        a, b = group.dongle_ids
        links, now_ns = (self._links.get(Way(a, b)), self._links.get(Way(b, a))), clock.boottime_ns()
        there, back = (DirectionBooks() if link is None else link.books(now_ns) for link in links)
        return there, back

    # -- sources

    def marks_of(self, agent_id: str) -> dict[str, str | None]:
        """For which activation each dongle of the agent that is listed has to carry its frames."""
        found: dict[str, str | None] = {}
        for dongle in self._fleet.dongles_of(agent_id):
            if dongle.listed:
                names = [link.direction.activation for link in self._of_source.get(dongle.dongle_id, ())]
                found[dongle.dongle_id] = next((name for name in names if name), None)
        return found

    def follows(self, dongle_id: str) -> bool:
        """Whether its packets matter, also while nothing is relayed: markers say what it is carried for."""
        return bool(self._of_source.get(dongle_id))

    def is_source(self, dongle_id: str) -> bool:
        """Whether anything of the dongle is relayed."""
        return any(link.direction.activation for link in self._of_source.get(dongle_id, ()))

    def heard(self, dongle_id: str, hello: LaneHello, start_id: str, opening: Opening, said_ns: int) -> None:
        """A hello of the dongle's frames lane is stored; it was not made before `said_ns`."""
        for link in self._of_source.get(dongle_id, ()):
            link.direction.heard(hello, start_id, opening, said_ns)
            link.wake.set()

    def arrived(
        self, dongle_id: str, packet: Packet, body: bytes, born_ns: int | None, now_ns: int, *, live: bool
    ) -> None:
        """A new packet of the dongle's frames lane."""
        for link in self._of_source.get(dongle_id, ()):
            if link.direction.arrived(packet, body, born_ns, live=live, now_ns=now_ns):
                link.wake.set()

    def became_gaps(self, dongle_id: str, gaps: Sequence[NewGap]) -> None:
        """Holes of the dongle's frames lane are given up."""
        for link in self._of_source.get(dongle_id, ()):
            link.direction.became_gaps(gaps)
            link.wake.set()

    def pruned(self, dongle_id: str, numbers: Sequence[PacketNumber]) -> None:
        """Retention has deleted these packets of the dongle's frames lane. Stored by the next `tick`: a crash
        before that leaves rows whose packets are not found when they are read, which counts the same."""
        for link in self._of_source.get(dongle_id, ()):
            link.direction.pruned(numbers)
            link.wake.set()

    # -- the recorder

    def part(self, changes: Sequence[LaneChange]) -> Statements | None:
        """A part of the ack's transaction: their rows; all else where there are none."""
        numbers: dict[str, list[PacketNumber]] = {}
        for change in changes:
            if change.lane == "frames" and change.dongle_id in self._of_source:
                found = [PacketNumber(one.start_id, one.seq) for one in change.stored]
                numbers.setdefault(change.dongle_id, []).extend(found)
        self._made_up = []
        for link in self._links.values() if numbers or not changes else ():
            source = link.way.source_dongle_id
            if (not changes or source in numbers) and (
                made := link.direction.to_store(numbers.get(source, ()))
            ):
                self._made_up.append((link, made))
        self._dropping = frozenset(self._dropped)
        if not self._made_up and not self._dropping:
            return None
        return partial(_write_all, made_up=list(self._made_up), dropped=self._dropping)

    def committed(self) -> None:
        """What the last part made up is stored."""
        for link, made in self._made_up:
            if self._links.get(link.way) is link:
                link.direction.stored(made)
                link.wake.set()
        self._dropped -= self._dropping
        self._made_up, self._dropping = [], frozenset()

    # -- sinks

    def unfinished(self, dongle_ids: Sequence[str] | None = None) -> list[Link]:
        """Every direction, to these dongles or to all, in which something is relayed, or waits."""
        links = self._links.values()
        asked = [one for one in links if dongle_ids is None or one.way.sink_dongle_id in dongle_ids]
        return [link for link in asked if not link.direction.is_finished]

    def is_on(self, link: Link) -> bool:
        """Whether its sink may send now."""
        group = self._group_of(link)
        on = None if group is None else self.activations.on(group)
        return on is not None and link.direction.activation == on.name and self._links.get(link.way) is link

    def loop_found(self, link: Link, why: str) -> None:
        """Its sink has found that its own frames come back: the group stops."""
        group = self._group_of(link)
        if group is None or not self.is_on(link):
            return
        reason = loop(link.way.sink_dongle_id, why)
        self.activations.stop(group, reason)
        agent_id, now = self._fleet.dongle(link.way.sink_dongle_id).agent_id, clock.now()
        message = f"group {group.group_id}: nothing is relayed any more: {reason}"
        details = {"group_id": group.group_id, "dongle_id": link.way.sink_dongle_id}
        payload = {
            "ts": format_timestamp(now.wall_us),
            "level": "error",
            "source": "server",
            "message": message,
            "details": details,
        }
        self._fleet.events.emit(agent_id, group.dongle_ids, "log", payload, now)

    async def serving_stored(self, link: Link) -> None:
        """Durable from here on: which record is handed items. StorageError."""
        serving = link.direction.serving
        if link.way not in self._dropped and self._served.get(link.way) == serving:
            return
        # First what is in doubt since another record was served, and that a group before this one is gone.
        async with self.commits:
            await self._store()
        if serving is not None:
            await self._recording.write(partial(relay_store.put_served, way=link.way, serving=serving))
            if self._links.get(link.way) is link:  # else it is not what is stored of the next group's
                self._served[link.way] = serving

    async def read_absent(self, link: Link, numbers: list[PacketNumber]) -> None:
        """Packets that are in the recording alone, before they can be handed. StorageError."""
        source = link.way.source_dongle_id
        found = await self._recording.read(partial(relay_store.bodies, dongle_id=source, numbers=numbers))
        link.direction.read(numbers, found)

    @contextlib.contextmanager
    def bell(self) -> Iterator[asyncio.Event]:
        """Set whenever directions may be others than they were."""
        bell = asyncio.Event()
        self._bells.add(bell)
        try:
            yield bell
        finally:
            self._bells.discard(bell)

    # -- housekeeping

    async def tick(self) -> None:
        """Age, store what is settled, let go of what is finished. Call it every second. StorageError."""
        now_ns = clock.boottime_ns()
        for link in self._links.values():
            link.direction.aged(now_ns)
            link.wake.set()
            if (group := self._group_of(link)) is not None:
                self._groups.changed(group)
        async with self.commits:
            await self._store()

    async def _store(self) -> None:
        statements = self.part([])
        if statements is not None:
            await self._recording.write(statements)
            self.committed()

    def _add(self, way: Way, group: Group, stored: Stored) -> Link:
        machine = RelayDirection(*way, max_age_ns=0)
        machine.restored(stored.rows, stored.lines, stored.serving, clock.boottime_ns(), same_boot=True)
        link = Link(way, group.group_id, machine)
        self._links[way] = link
        self._of_source.setdefault(way.source_dongle_id, []).append(link)
        return link

    def _deleted(self, group: Group) -> None:
        """Nothing of its directions is another group's."""
        for link in [one for one in self._links.values() if one.group_id == group.group_id]:
            del self._links[link.way]
            others = [one for one in self._of_source[link.way.source_dongle_id] if one is not link]
            if others:
                self._of_source[link.way.source_dongle_id] = others
            else:
                del self._of_source[link.way.source_dongle_id]
            self._dropped.add(link.way)
            self._served.pop(link.way, None)
            link.wake.set()
        self._ring()

    def _group_of(self, link: Link) -> Group | None:
        group = self._groups.of_dongle(link.way.source_dongle_id)
        return group if group is not None and group.group_id == link.group_id else None

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()


def _write_all(
    connection: Connection, made_up: Sequence[tuple[Link, Changes]], dropped: Iterable[Way]
) -> None:
    for way in dropped:
        relay_store.drop(connection, way)
    for link, made in made_up:
        relay_store.write(connection, link.way, made)
