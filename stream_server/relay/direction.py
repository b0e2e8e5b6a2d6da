"""One direction of a group: what of a dongle's frames lane is handed to the gateway of the other, in which
order, and what has become of it. Pure: no sockets, no storage, and the time is an argument.

Moments are nanoseconds of CLOCK_BOOTTIME. Relay order is (starts as their agent lists them, position), never
arrival. Only what the source's agent has marked for the activation that is on is in it. It lives as long as
its pair of dongles, over activations: what is left of one is settled before the next.

How it is driven, all in one event loop:

* ingest: `arrived` for each new packet of the frames lane, before the commit; `heard` after a hello is stored;
* recorder: `to_store` when a transaction is made up, `stored` after its commit, `became_gaps` for gaps that
  a hello or age has made, `pruned` after retention has deleted packets;
* the sink's connection: `greeted`, then store `serving` and call `served`, only then `next` gives something;
  `settled` for each report, `lost` when the connection ends;
* a beat of at most a second: `aged`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from can_stream.lanes.holdings import NewGap
from can_stream.lanes.opening import Opening
from can_stream.protocol.lanes_control import LaneHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Packet
from can_stream.protocol.relay_control import Cursor, Direction, SinkHello
from stream_server.relay.values import (
    Books,
    Bounds,
    Changes,
    RelayCounts,
    RelayItem,
    Served,
    StoredLine,
    StoredRow,
)


class RelayDirection:
    """Frames of `source_dongle_id` for the bus of `sink_dongle_id`. `max_age_ns`: what the sink said of itself."""

    def __init__(
        self, source_dongle_id: str, sink_dongle_id: str, max_age_ns: int, bounds: Bounds = Bounds()
    ) -> None:
        raise NotImplementedError

    # -- the group

    def activate(self, activation: str, *, dry_run: bool = False) -> None:
        """Packets behind its marker are relayed from now on. What is left of another stays counts."""
        raise NotImplementedError

    def deactivate(self) -> None:
        """What is left becomes counts (`deactivated`) that the sink settles. All is handed again."""
        raise NotImplementedError

    @property
    def is_finished(self) -> bool:
        """Whether it is not active, and the sink has settled all."""
        raise NotImplementedError

    # -- the source

    def heard(self, hello: LaneHello, start_id: str, opening: Opening, now_ns: int) -> None:
        """A hello of the frames lane has been stored: what it lists and is not here becomes holes that age.

        `now_ns`: at the latest when the hello was made plus what its way can have taken, so: when it came.
        Takes `opening.gaps` too.
        """
        raise NotImplementedError

    def arrived(
        self, packet: Packet, body: bytes, born_ns: int | None, *, live: bool, now_ns: int
    ) -> bool:
        """A packet of the frames lane that is new has come, and is not committed yet.

        `born_ns`: before that moment no frame of it was made; None: unknown, which is too old. Returns
        whether there may be something to hand.
        """
        raise NotImplementedError

    def became_gaps(self, gaps: Iterable[NewGap]) -> None:
        """Holes of the recording have become gaps."""
        raise NotImplementedError

    def pruned(self, start_id: str, through_seq: int) -> None:
        """Retention has deleted the packets of a start up to this number: what is unsettled is a count."""
        raise NotImplementedError

    # -- storage

    def to_store(self, numbers: Iterable[PacketNumber] = ()) -> Changes:
        """What to write in the transaction that records the packets of these numbers. It may fail."""
        raise NotImplementedError

    def stored(self, changes: Changes) -> None:
        """These are committed."""
        raise NotImplementedError

    def restored(
        self,
        rows: Iterable[StoredRow],
        lines: Iterable[StoredLine],
        serving: Served | None,
        now_ns: int,
        *,
        same_boot: bool,
    ) -> None:
        """What was stored, once, before all else (`activate` follows where one is on). `same_boot`: of
        whether the moments in it are of this boot's clock; else ages are unknown."""
        raise NotImplementedError

    # -- the sink

    def greeted(self, hello: SinkHello, now_ns: int) -> Direction:
        """The sink has connected: what it is told. Nothing is handed before `served` is called."""
        raise NotImplementedError

    @property
    def serving(self) -> Served | None:
        """What must be in storage before `served` is called."""
        raise NotImplementedError

    def served(self, record_id: str) -> None:
        """`serving` is committed, with this record: from now on things are handed."""
        raise NotImplementedError

    def lost(self) -> None:
        """The sink's connection has ended, or directions are said anew: all that is unsettled is handed again."""
        raise NotImplementedError

    def settled(self, cursor: Cursor) -> None:
        """The sink reports. Absolute; it may be ahead of what is known here, after a restart."""
        raise NotImplementedError

    def next(self, now_ns: int, room_frames: int) -> RelayItem | RelayCounts | None:
        """What to hand next, each once per connection. Counts need no room; an item any.

        None: nothing can be handed now; `absent` says whether packets have to be read first, and `due_ns`
        when a hole will be too old that all waits for.
        """
        raise NotImplementedError

    def absent(self, most: int = 256) -> list[PacketNumber]:
        """Which packets `next` will need and are only in the recording, at most so many; [] where it needs
        none now."""
        raise NotImplementedError

    def read(self, numbers: Sequence[PacketNumber], bodies: Mapping[PacketNumber, bytes]) -> None:
        """These were looked for in the recording; what is not among `bodies` is not there any more."""
        raise NotImplementedError

    @property
    def due_ns(self) -> int | None:
        """When `next` is to be asked again although nothing has happened."""
        raise NotImplementedError

    def aged(self, now_ns: int) -> None:
        """Time has gone by: what waits and is too old, or too much, becomes counts."""
        raise NotImplementedError

    def books(self, now_ns: int) -> Books:
        """How it stands."""
        raise NotImplementedError
