"""Stretches of what waits at an agent, and how a hello lists them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from can_stream.protocol.lanes_control import BacklogRange


class Stretch(Struct):
    """Packets of consecutive numbers of one start.

    `frames` counts those of gaps too, `lost_frames` these alone. `oldest_seconds` is when the oldest was made
    (monotonic), None where that was in another boot. `first_row` and `last_row`: where it is on disk; 0: not.
    """

    start_id: str
    first_seq: int
    last_seq: int
    frames: int
    lost_frames: int
    oldest_seconds: float | None
    packets: int = 1
    first_row: int = 0
    last_row: int = 0

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
        return BacklogRange(self.start_id, self.first_seq, self.last_seq, None, self.frames, age_seconds)


def joined(stretches: Iterable[Stretch], announced: Mapping[str, int], packets: int) -> list[Stretch]:
    """Neighbours as one, up to `packets` in each; none mixes numbers that a hello listed with others.

    `announced` says for each start through which number an earlier hello listed what waits.
    """
    out: list[Stretch] = []
    for stretch in stretches:
        last = out[-1] if out else None
        if last is not None and last.packets < packets and follows(last, stretch, announced):
            last.extend(stretch)
        else:
            out.append(replace(stretch))
    return out


def follows(last: Stretch, stretch: Stretch, announced: Mapping[str, int]) -> bool:
    """Whether one range may hold both."""
    through = announced.get(stretch.start_id, 0)
    return (
        last.start_id == stretch.start_id
        and last.last_seq + 1 == stretch.first_seq
        and (last.last_seq <= through) == (stretch.last_seq <= through)
    )
