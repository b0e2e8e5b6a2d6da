"""What goes in and out of one direction of a group: what is handed, and what a store writes. Values only.

Moments are nanoseconds of CLOCK_BOOTTIME, positions are frames of a start in the frames lane.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from msgspec import Struct

from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.relay_control import NotSent, Totals

NS: Final = 1_000_000_000
Reason: TypeAlias = NotSent | Literal["hole", "out", "own"]
"""Why frames are not handed; "hole": they have not come yet, "out": they are of no activation that counts,
"own": a packet of nothing but own echoes and error frames, which are in no count."""
PASSED: Final = ("out", "own")
"""Of these nobody is told anything: the next that is handed says where it begins."""


class Bounds(Struct, frozen=True):
    """How much waits for one sink: for what age (besides its own limit), and how many frames.

    `body_bytes`: of packets that are in the recording, so many are kept in memory too.
    `hold_ns`: for so long nothing is handed of a source whose hello does not list all it holds.
    """

    age_ns: int = 600 * NS
    frames: int = 200_000
    body_bytes: int = 4_000_000
    hold_ns: int = NS


BOUNDS: Final = Bounds()


class RelayItem(Struct, frozen=True):
    """A packet to hand, with its bytes as received. `born_ns`: no frame of it was made before. `fresh` as in
    `Item`. Its frames are those from `position` up to `through`; `first`: the first that is not settled.
    `came_ns`: when it came, None: not to this process."""

    number: PacketNumber
    position: int
    first: int
    through: int
    born_ns: int
    fresh: bool
    packet: bytes
    came_ns: int | None = None

    @property
    def frames(self) -> int:
        """How much of the sink's credit it takes: all of it, for the sink counts what it is sent."""
        return self.through - self.position


class RelayCounts(Struct, frozen=True):
    """Frames of a start that are not handed: `frames` of others, from `first` up to `through`.

    `in_doubt`: whoever was served before may have sent them, so that is what they count as.
    """

    start_id: str
    first: int
    through: int
    frames: int
    reason: NotSent
    in_doubt: bool = False


class Served(Struct, frozen=True):
    """Which record items were last handed to, and when it took the place of another (None: of none)."""

    record_id: str
    anew_ns: int | None = None


class StoredRow(Struct, frozen=True):
    """A packet in the recording that a sink has not settled. Its key is (`start_id`, `seq`).

    `own`: which of its frames are own echoes or error frames, a bit each from the highest of the first byte
    on, b"" where none are. `in_doubt`: one that was served before may have sent it.
    """

    start_id: str
    seq: int
    position: int
    frames: int
    born_ns: int | None
    own: bytes = b""
    in_doubt: bool = False


class StoredStretch(Struct, frozen=True, array_like=True):
    """Positions `first` up to `through` of which no packet is here, `frames` of them others' frames.

    `fresh`: they were never offered to anybody, and will not be.
    """

    first: int
    through: int
    frames: int
    reason: Reason
    born_ns: int | None = None
    fresh: bool = False
    in_doubt: bool = False


class StoredMark(Struct, frozen=True, array_like=True):
    """From this number and position on a start's frames are made for `activation`; "": for none."""

    seq: int
    position: int
    activation: str


class StoredLine(Struct, frozen=True):
    """One start of the source, whole: it takes the place of what is stored of it. `place`: its order."""

    start_id: str
    place: int
    settled: int
    end: int
    totals: Totals = Totals()
    stretches: list[StoredStretch] = []
    marks: list[StoredMark] = []


class Deleted(Struct, frozen=True):
    """The rows of a start with these numbers go, those that there are."""

    start_id: str
    first_seq: int
    last_seq: int


class Changes(Struct, frozen=True):
    """What a transaction writes, in this order: rows deleted, rows put in (or changed), lines, lines gone."""

    deleted: list[Deleted]
    rows: list[StoredRow]
    lines: list[StoredLine]
    gone: list[str]
    versions: dict[str, int] = {}  # for `RelayDirection.stored` alone

    def __bool__(self) -> bool:
        return bool(self.deleted or self.rows or self.lines or self.gone)


class Held(Struct, frozen=True):
    """Frames of others that wait here, and about what all that is known of a direction takes in memory."""

    frames: int
    bytes: int


class Books(Struct, frozen=True):
    """How a direction stands, for `group_state`: totals as its sink last said, and what it has not settled.

    `buffered_frames` are here, `missing_frames` known of and not here yet, `counted` what will not be handed,
    by reason, whose number alone its sink has still to settle. With the totals that is every frame of others
    that the source has made behind the marker, as far as it has come to this server. `replaying`: the oldest
    that waits is older than a second. `oldest_ns`: its age, None: unknown or none.
    """

    totals: Totals
    buffered_frames: int
    missing_frames: int
    counted: dict[str, int]
    oldest_ns: int | None
    replaying: bool
    buffer_pressure: bool
