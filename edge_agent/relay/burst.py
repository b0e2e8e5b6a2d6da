"""The frames that are in a driver, matched with what is read back of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct

from can_stream.frames.batches import CLASSIC_DATA_BYTES, FrameBatch, FrameFlag
from can_stream.protocol.control import Confirms
from can_stream.protocol.relay_control import NotSent
from edge_agent.relay.account.by_id import id_keys
from edge_agent.relay.account.hop_ages import Arrival
from edge_agent.relay.record import OpenBurst

# What another node of the bus could tell apart; ESI is the sender's own state.
_SHAPE: Final = int(FrameFlag.EXTENDED | FrameFlag.REMOTE | FrameFlag.FD | FrameFlag.BRS)
_FD: Final = int(FrameFlag.FD)


class Cut(Struct, frozen=True):
    """`frames` at `positions` of their start, each read at `born_ns` at the earliest (CLOCK_BOOTTIME), and
    what is `refused` between and behind them, up to `through`. `sure_from`: the first position of what was
    surely offered to nobody before; None: of none. `refused_ids`: by `id_keys`, of each."""

    frames: FrameBatch
    positions: list[int]
    born_ns: list[int]
    through: int
    refused: list[tuple[int, NotSent]]
    sure_from: int | None = None
    refused_ids: Sequence[int] = ()


class Burst:
    """A cut of the start of a source. Frames without an echo until `deadline_ns` are in doubt.

    `opened_ns`, `arrival`: when it was handed over, and when its first frame came; for the figures alone.
    """

    def __init__(
        self, source_dongle_id: str, start_id: str, cut: Cut, confirms: Confirms, deadline_ns: int
    ) -> None:
        self.source_dongle_id = source_dongle_id
        self.start_id = start_id
        self.frames = cut.frames
        self.born_ns = cut.born_ns
        self.through = cut.through
        self.sure_from = cut.sure_from
        self.confirms = confirms
        self.deadline_ns = deadline_ns
        self.opened_ns = 0
        self.arrival: Arrival | None = None
        self._positions = cut.positions
        self._refused = cut.refused
        self._id_at = dict(zip((at for at, _ in cut.refused), cut.refused_ids, strict=False))
        self.keys = frame_keys(cut.frames)
        self._awaited = [*enumerate(self.keys)]

    def opened(self) -> OpenBurst:
        """What the record has to know of it."""
        frames, refused = len(self.frames), self.refused()
        first, through = self._positions[0], self.through
        return OpenBurst(self.source_dongle_id, self.start_id, first, through, frames, refused)

    def refused(self) -> dict[NotSent, int]:
        """What is settled with it, by reason."""
        return dict(Counter(reason for _, reason in self._refused))

    def fates(self, taken_as: str, *, doubt: bool) -> list[tuple[int, str]]:
        """The id and fate of each frame, and of what was refused with it.

        `taken_as`: what has become of the frames, but of those without an echo where there is `doubt`.
        """
        awaited = {row for row, _ in self._awaited} if doubt else set()
        rows = enumerate(id_keys(self.frames))
        fates: list[tuple[int, str]] = [
            (key, "in_doubt" if row in awaited else taken_as) for row, key in rows
        ]
        return fates + [(self._id_at[at], reason) for at, reason in self._refused if at in self._id_at]

    def keep(self, taken: int) -> None:
        """The driver took only the first of its frames, at least one."""
        self.through = self._positions[taken]
        self.frames = self.frames[:taken]
        self._refused = [(at, reason) for at, reason in self._refused if at < self.through]
        self._awaited = [(row, key) for row, key in self._awaited if row < taken]

    def echo(self, key: bytes) -> int | None:
        """The row of the first frame of this content that has had no echo; None where there is none."""
        for place, (row, awaited) in enumerate(self._awaited):
            if awaited == key:
                del self._awaited[place]
                return row
        return None

    def awaited(self) -> list[bytes]:
        """The content of what has had no echo, in order."""
        return [key for _, key in self._awaited]


def frame_keys(frames: FrameBatch) -> list[bytes]:
    """What is the same of a frame and of its echo."""
    rows = len(frames)
    table = np.zeros((rows, 6 + frames.width), np.uint8)
    table[:, :4] = frames.arbitration_id.astype("<u4").view(np.uint8).reshape(rows, 4)
    table[:, 4] = frames.flags & _SHAPE
    is_fd = (frames.flags & _FD) != 0
    # A driver may say 8 for the length codes behind it. 1 more, so that nothing ends in a zero of its own.
    table[:, 5] = np.where(is_fd, frames.length, np.minimum(frames.length, CLASSIC_DATA_BYTES)) + 1
    inside = np.arange(frames.width) < frames.data_length()[:, None]
    table[:, 6:] = np.where(inside, frames.data, 0)
    return [row.tobytes().rstrip(b"\0") for row in table]
