"""What goes in and out of one direction of a group: what is handed, and what a store writes. Values only.

Moments are nanoseconds of CLOCK_BOOTTIME, positions are frames of a start in the frames lane.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from msgspec import Struct

from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.relay_control import NotSent, Totals

NS: Final = 1_000_000_000
Reason: TypeAlias = NotSent | Literal["hole", "out", ""]
"""Why frames are not handed; "hole": they have not come, "out": they are of no activation, "": they are here."""


class Bounds(Struct, frozen=True):
    """How much waits for one sink: for what age (besides its own limit), and how many frames.

    `hold_ns`: for so long nothing is handed of a source whose hello does not list all it holds.
    """

    age_ns: int = 600 * NS
    frames: int = 200_000
    body_bytes: int = 4_000_000
    hold_ns: int = NS


class RelayItem(Struct, frozen=True):
    """A packet to hand: the number it is recorded under, the bytes as received, when its oldest frame was
    made at the latest... at the earliest moment that is possible. `fresh` as in `Item`."""

    number: PacketNumber
    frames: int
    born_ns: int
    fresh: bool
    packet: bytes


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
    """A packet in the recording that a sink has not settled. Its key is (`start_id`, `first`).

    `first`: where what is unsettled of it begins; `own`: which of its frames are own echoes or error frames,
    a bit each from the highest of the first byte on, "" where none are.
    """

    start_id: str
    first: int
    seq: int
    position: int
    frames: int
    born_ns: int | None
    own: bytes = b""
    reason: Reason = ""
    in_doubt: bool = False


class StoredStretch(Struct, frozen=True, array_like=True):
    """Positions that are in no packet here: a hole, a count, or of no activation ("out").

    `frames`: how many it counts. `activation`: of a hole, which one its frames were made for.
    """

    first: int
    through: int
    frames: int
    reason: Reason
    born_ns: int | None = None
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
    """Rows of a start that begin at `first` or later, and before `through`, go."""

    start_id: str
    first: int
    through: int


class Changes(Struct, frozen=True):
    """What a transaction writes, in this order: rows deleted, rows put in (or changed), lines, lines gone.

    `versions`: for `RelayDirection.stored` alone.
    """

    deleted: list[Deleted]
    rows: list[StoredRow]
    lines: list[StoredLine]
    gone: list[str]
    versions: dict[str, int]

    def __bool__(self) -> bool:
        return bool(self.deleted or self.rows or self.lines or self.gone)


class Books(Struct, frozen=True):
    """How a direction stands, for `group_state`: totals as its sink last said, and what waits here.

    `replaying`: the oldest that waits is older than a second. `oldest_ns`: its age, None: unknown or none.
    """

    totals: Totals
    buffered_frames: int
    oldest_ns: int | None
    replaying: bool
    buffer_pressure: bool
