"""One direction of a group: what of a dongle's frames lane is handed to the gateway of the other, in which
order, and what has become of it. Pure: no sockets, no storage, and the time is an argument.

Moments are nanoseconds of CLOCK_BOOTTIME. Relay order is (starts as their agent lists them, position), never
arrival. Only what the source's agent has marked for the activation that is on is in it. It lives as long as
its pair of dongles, over activations: what is left of one is settled before the next.

How it is driven, all in one event loop:

* ingest: `arrived` for each new packet of the frames lane, before the commit; `heard` once a hello is stored;
* recorder: `to_store` when a transaction is made up, `stored` after its commit, `became_gaps` for gaps that
  a hello or age has made, `pruned` after retention has deleted packets;
* the sink's connection: `greeted`, then store `to_store()` and `serving`, in one transaction or in this
  order, and call `stored` and `served`, only then `next` gives something;
  `settled` for each report, `directed` where directions are said anew on it, `lost` when it ends;
* at the start of the server: `restored`, then `activate` where one is on, else `deactivate`;
* a beat of at most a second: `aged`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from can_stream.lanes.holdings import NewGap
from can_stream.lanes.opening import Opening
from can_stream.protocol.lanes_control import LaneHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Packet
from can_stream.protocol.relay_control import Cursor, Direction, SinkHello
from stream_server.relay.handing import HandOut
from stream_server.relay.intake import Intake
from stream_server.relay.lines import Lines
from stream_server.relay.storing import add_changes, note_stored, restored_line
from stream_server.relay.terms import Terms
from stream_server.relay.values import (
    BOUNDS,
    NS,
    Books,
    Bounds,
    Changes,
    Held,
    RelayCounts,
    RelayItem,
    Served,
    StoredLine,
    StoredRow,
)

_ARRIVALS_BETWEEN_AGEING: Final = 1024


class RelayDirection:
    """Frames of `source_dongle_id` for the bus of `sink_dongle_id`. `max_age_ns`: what the sink said."""

    def __init__(
        self, source_dongle_id: str, sink_dongle_id: str, max_age_ns: int, bounds: Bounds = BOUNDS
    ) -> None:
        self.source_dongle_id: Final = source_dongle_id
        self.sink_dongle_id: Final = sink_dongle_id
        self.bounds: Final = bounds
        self.serving: Served | None = None
        """What must be in storage before `served` is called."""
        self._terms = Terms(max_age_ns)
        self._lines = Lines()
        self._intake = Intake(self._lines, self._terms, bounds.hold_ns)
        self._hand_out = HandOut(self._lines, self._terms, bounds)
        self._last_activation = ""
        self._dry_run = False
        self._is_served = self._begins_anew = False
        self._arrivals = 0

    # -- the group

    def activate(self, activation: str, *, dry_run: bool = False, now_ns: int = 0) -> None:
        """Packets behind its marker are relayed from now on. What is left of another stays counts.

        The same one again, after it was closed: what was made before `now_ns` is too old, for a source that
        could not be told meanwhile has carried it all the same.
        """
        if self._terms.activation not in ("", activation):
            self.deactivate()
        if activation != self._last_activation:
            self._terms.opened_ns = 0
        elif not self._terms.activation:
            self._terms.opened_ns = now_ns
        self._terms.activation = self._last_activation = activation
        self._dry_run = dry_run

    def deactivate(self) -> None:
        """What is left becomes counts (`deactivated`) that the sink settles. All is handed again."""
        self._terms.activation = ""
        for line in self._lines:
            line.count_all("deactivated")
        self._lines.rewind()

    @property
    def activation(self) -> str:
        """The one that is on; "": none."""
        return self._terms.activation

    @property
    def max_age_ns(self) -> int:
        """How old a frame may be for the sink."""
        return self._terms.max_age_ns

    @max_age_ns.setter
    def max_age_ns(self, value: int) -> None:
        self._terms.max_age_ns = value

    @property
    def is_finished(self) -> bool:
        """Whether it is not active, and the sink has settled all."""
        return not self._terms.activation and all(line.is_settled for line in self._lines)

    # -- the source

    def heard(self, hello: LaneHello, start_id: str, opening: Opening, said_ns: int) -> None:
        """A hello of the frames lane has been stored: what is known of and not here becomes holes that age.

        `said_ns`: a moment before which it was not made (that of the connection's upgrade, where nothing
        better is known). Takes `opening.gaps` too.
        """
        self._intake.heard(hello, start_id, opening, said_ns)

    def arrived(self, packet: Packet, body: bytes, born_ns: int | None, *, live: bool, now_ns: int) -> bool:
        """A packet of the frames lane that is new has come, and is not committed yet.

        `born_ns`: before that moment no frame of it was made; None: unknown, which is too old. Returns
        whether there may be something to hand.
        """
        self._arrivals += 1
        if self._arrivals >= _ARRIVALS_BETWEEN_AGEING:
            self.aged(now_ns)
        return self._intake.arrived(packet, body, born_ns, live=live, came_ns=now_ns)

    def became_gaps(self, gaps: Iterable[NewGap]) -> None:
        """Holes of the recording have become gaps."""
        self._intake.became_gaps(gaps)

    def pruned(self, numbers: Iterable[PacketNumber]) -> None:
        """Retention has deleted these packets: what of them is unsettled becomes counts (`trimmed`)."""
        self._intake.pruned(numbers)

    # -- storage

    def to_store(self, numbers: Iterable[PacketNumber] = ()) -> Changes:
        """What to write in the transaction that records the packets of these numbers. It may fail."""
        committed: dict[str, set[int]] = {}
        for number in numbers:
            committed.setdefault(number.start_id, set()).add(number.seq)
        changes = Changes([], [], [], list(self._lines.gone), {})
        for place, line in self._lines.places():
            add_changes(changes, line, place, committed.get(line.start_id, ()))
        return changes

    def stored(self, changes: Changes) -> None:
        """These are committed."""
        rows: dict[str, list[StoredRow]] = {}
        for row in changes.rows:
            rows.setdefault(row.start_id, []).append(row)
        for deleted in changes.deleted:
            if (line := self._lines.get(deleted.start_id)) is not None:
                line.deleted.remove(deleted.first_seq, deleted.last_seq)
        for _, line in self._lines.places():
            if line.start_id in changes.versions:
                line.stored_version = changes.versions[line.start_id]
                room = self.bounds.body_bytes - self._lines.kept_bytes
                note_stored(line, rows.get(line.start_id, ()), line.kept_bytes + room)
        self._lines.gone = [one for one in self._lines.gone if one not in changes.gone]

    def restored(
        self,
        rows: Iterable[StoredRow],
        lines: Iterable[StoredLine],
        serving: Served | None,
        now_ns: int,
        *,
        same_boot: bool,
    ) -> None:
        """What was stored, once, before all else. `activate` or `deactivate` follows.

        `same_boot`: whether the moments in it are of this boot's clock; else ages are unknown.
        """
        of: dict[str, list[StoredRow]] = {}
        for row in rows:
            of.setdefault(row.start_id, []).append(row)
        for stored in sorted(lines, key=lambda one: one.place):
            self._lines.add(restored_line(stored, of.get(stored.start_id, ()), same_boot=same_boot))
        if serving is not None and serving.anew_ns is not None and not same_boot:
            serving = Served(serving.record_id, now_ns)
        self.serving = serving
        self._terms.anew_ns = None if serving is None else serving.anew_ns

    # -- the sink

    def greeted(self, hello: SinkHello, now_ns: int) -> Direction:
        """The sink has connected: what it is told. Nothing is handed before `served` is called: whom a server
        that crashes has served must be known to the next, and what is in doubt since.

        Where its record is not the one that was served last, what that says does not count, and all that was
        perhaps offered before is in doubt.
        """
        before = self.serving
        self._is_served = False
        self._begins_anew = before is not None and before.record_id != hello.record_id
        if before is None or self._begins_anew:
            self._terms.anew_ns = now_ns if self._begins_anew else None
            self.serving = Served(hello.record_id, self._terms.anew_ns)
        for line in self._lines if self._begins_anew else ():
            line.doubt_all()
        was_sent = self._lines.was_sent()
        for cursor in () if self._begins_anew else hello.cursors:
            self.settled(cursor)
        self._lines.pass_older(was_sent)
        return self.directed()

    def directed(self) -> Direction:
        """Directions are said anew on the connection, so that all that is unsettled is handed again."""
        self._lines.rewind()
        begins_anew, self._begins_anew = self._begins_anew, False
        return Direction(
            self.sink_dongle_id,
            self.source_dongle_id,
            self._last_activation,
            self._dry_run,
            begins_anew,
            self._lines.cursors(self.source_dongle_id),
        )

    def served(self, record_id: str) -> None:
        """`serving`, with this record, and what `to_store` said are committed: now things are handed."""
        self._is_served = self.serving is not None and self.serving.record_id == record_id

    def lost(self) -> None:
        """The sink's connection has ended."""
        self._is_served = False
        self._lines.rewind()

    def settled(self, cursor: Cursor) -> None:
        """The sink reports. Absolute; it may be ahead of what is known here, after a restart."""
        if cursor.source_dongle_id != self.source_dongle_id or not cursor.position:
            return
        line = self._lines.known_or_new(cursor.start_id)
        if line is not None and cursor.position >= line.settled:
            line.totals = cursor.totals
            line.settle(cursor.position)

    def next(self, now_ns: int, room_frames: int) -> RelayItem | RelayCounts | None:
        """What to hand next, each once per connection. Counts need no room; an item any.

        None: nothing can be handed now; `absent` says whether packets have to be read first, and `due_ns`
        when a hole will be too old that all waits for.
        """
        return self._hand_out.next(now_ns, room_frames) if self._is_served else None

    @property
    def due_ns(self) -> int | None:
        """When `next` is to be asked again although nothing has happened."""
        return self._hand_out.due_ns

    def absent(self, most: int = 256) -> list[PacketNumber]:
        """Which packets `next` will need and are only in the recording, at most so many; [] where it needs
        none now."""
        return self._hand_out.absent(most) if self._is_served else []

    def read(self, numbers: Sequence[PacketNumber], bodies: Mapping[PacketNumber, bytes]) -> None:
        """`absent` were looked for in the recording; what is not among `bodies` is not there any more."""
        self._hand_out.read(numbers, bodies)

    # -- both

    def aged(self, now_ns: int) -> None:
        """Time has gone by: what waits and is too old, or too much, becomes counts."""
        self._arrivals = 0
        self._hand_out.aged(now_ns)

    @property
    def held(self) -> Held:
        """What waits here."""
        frames = sum(line.others for line in self._lines)
        return Held(frames, sum(line.held_bytes for line in self._lines))

    def books(self, now_ns: int) -> Books:
        """How it stands."""
        missing, counted = self._lines.unsettled()
        oldest = next((one for line in self._lines if (one := line.oldest) is not None), None)
        born_ns = None if oldest is None else oldest.born_ns
        is_old = oldest is not None and (born_ns is None or now_ns - born_ns > NS)
        age_ns = None if born_ns is None else now_ns - born_ns
        pressure = self._hand_out.has_pressure
        return Books(self._lines.totals(), self.held.frames, missing, counted, age_ns, is_old, pressure)
