"""Stretches of what waits at an agent, and how a hello lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from can_stream.protocol.lanes_control import BacklogRange

_PACKETS_PER_RANGE: Final = 16


class Stretch(Struct):
    """Packets of consecutive numbers and positions of one start.

    `position` is that of the first, None where they are of version 1. `frames` counts those of gaps too,
    `lost_frames` these alone. `oldest_seconds` is when the oldest was made (monotonic), None where that was
    in another boot. `first_row` and `last_row`: where it is on disk; 0: not. `activation`: what its frames
    are carried for, as the marker before them or at their head says; "": for none.
    """

    start_id: str
    first_seq: int
    last_seq: int
    position: int | None
    frames: int
    lost_frames: int
    oldest_seconds: float | None
    packets: int = 1
    first_row: int = 0
    last_row: int = 0
    activation: str = ""

    @property
    def data_frames(self) -> int:
        """Those that no gap stands for."""
        return self.frames - self.lost_frames

    def extend(self, later: Stretch) -> None:
        """This one and the one that follows it."""
        self.last_seq = later.last_seq
        self.frames += later.frames
        self.lost_frames += later.lost_frames
        self.packets += later.packets
        self.last_row = max(self.last_row, later.last_row)

    def listed(self, now_seconds: float) -> BacklogRange:
        """What a hello says of it."""
        oldest = self.oldest_seconds
        age_seconds = None if oldest is None else max(0.0, round(now_seconds - oldest, 3))
        return BacklogRange(
            self.start_id,
            self.first_seq,
            self.last_seq,
            self.position,
            self.frames,
            age_seconds,
            self.activation or None,
        )


def joined(stretches: Iterable[Stretch], packets: int) -> list[Stretch]:
    """Neighbours as one, up to `packets` in each."""
    out: list[Stretch] = []
    for stretch in stretches:
        last = out[-1] if out else None
        if last is not None and last.packets < packets and follows(last, stretch):
            last.extend(stretch)
        else:
            out.append(replace(stretch))
    return out


def listing(stretches: list[Stretch], max_ranges: int) -> tuple[list[Stretch], bool]:
    """As a hello with room for `max_ranges` lists them, the oldest first, and whether these are all."""
    packets = sum(stretch.packets for stretch in stretches)
    ranges = joined(stretches, max(_PACKETS_PER_RANGE, -(-2 * packets // max_ranges)))
    return ranges[:max_ranges], len(ranges) <= max_ranges


def follows(last: Stretch, stretch: Stretch) -> bool:
    """Whether one range may hold both."""
    if last.start_id != stretch.start_id or last.last_seq + 1 != stretch.first_seq:
        return False
    if last.activation != stretch.activation:
        return False
    if last.position is None or stretch.position is None:
        return last.position is stretch.position
    return last.position + last.frames == stretch.position
