"""The frames that are in a driver, matched with what is read back of them."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from typing import Final

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
_REMOTE: Final = int(FrameFlag.REMOTE)
_KEY_HEAD: Final = struct.Struct("<IBB")


class Cut(Struct, frozen=True):
    """`frames` at `positions` of their start, each read at `born_ns` at the earliest (CLOCK_BOOTTIME), and
    what is `refused` between and behind them, up to `through`. `sure_from`: the first position of what was
    surely offered to nobody before; None: of none. `refused_ids`: by `id_keys`, of each. `ids`, `keys`: of
    the frames, by `id_keys` and `frame_keys`, where they are known already."""

    frames: FrameBatch
    positions: list[int]
    born_ns: list[int]
    through: int
    refused: list[tuple[int, NotSent]]
    sure_from: int | None = None
    refused_ids: Sequence[int] = ()
    ids: list[int] | None = None
    keys: list[bytes] | None = None


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
        self._ids = id_keys(cut.frames) if cut.ids is None else cut.ids
        self.keys = frame_keys(cut.frames) if cut.keys is None else cut.keys
        self._awaited_rows = list(range(len(self.keys)))
        self._awaited = [*self.keys]

    def opened(self) -> OpenBurst:
        """What the record has to know of it."""
        frames, refused = len(self.frames), self.refused()
        first, through = self._positions[0], self.through
        keys = self._awaited if self.confirms == "bus" else []
        return OpenBurst(self.source_dongle_id, self.start_id, first, through, frames, refused, [*keys])

    def refused(self) -> dict[NotSent, int]:
        """What is settled with it, by reason."""
        return dict(Counter(reason for _, reason in self._refused)) if self._refused else {}

    def fates(self, taken_as: str, *, doubt: bool) -> list[tuple[int, str]]:
        """The id and fate of each frame, and of what was refused with it.

        `taken_as`: what has become of the frames, but of those without an echo where there is `doubt`.
        """
        ids = self._ids[: len(self.frames)]
        fates: list[tuple[int, str]] = [(key, taken_as) for key in ids]
        if doubt:
            for row in self._awaited_rows:
                fates[row] = ids[row], "in_doubt"
        return fates + [(self._id_at[at], reason) for at, reason in self._refused if at in self._id_at]

    def keep(self, taken: int) -> None:
        """The driver took only the first of its frames, at least one."""
        self.through = self._positions[taken]
        self.frames = self.frames[:taken]
        self._refused = [(at, reason) for at, reason in self._refused if at < self.through]
        left = [(row, key) for row, key in zip(self._awaited_rows, self._awaited, strict=True) if row < taken]
        self._awaited_rows, self._awaited = [row for row, _ in left], [key for _, key in left]

    def echo(self, key: bytes) -> int | None:
        """The row of the first frame of this content that has had no echo; None where there is none."""
        if key not in self._awaited:
            return None
        place = self._awaited.index(key)
        del self._awaited[place]
        return self._awaited_rows.pop(place)

    def echo_in_order(self, keys: list[bytes]) -> list[int]:
        """The rows of the frames that have had no echo for the longest, where these are theirs, all of them
        and in their order; none else, and then nothing is matched."""
        if self._awaited[: len(keys)] != keys:
            return []
        rows = self._awaited_rows[: len(keys)]
        del self._awaited[: len(keys)], self._awaited_rows[: len(keys)]
        return rows

    @property
    def has_awaited(self) -> bool:
        """Whether some have had no echo."""
        return bool(self._awaited)

    def awaited(self) -> list[bytes]:
        """The content of what has had no echo, in order."""
        return list(self._awaited)


def frame_keys(frames: FrameBatch) -> list[bytes]:
    """What is the same of a frame and of its echo."""
    width, data = frames.width, frames.data.tobytes()
    pack, keys, begin = _KEY_HEAD.pack, [], 0
    shapes = zip(frames.arbitration_id.tolist(), frames.flags.tolist(), frames.length.tolist(), strict=True)
    for arbitration_id, flags, length in shapes:
        # A driver may say 8 for the length codes behind it.
        size = length if flags & _FD or length < CLASSIC_DATA_BYTES else CLASSIC_DATA_BYTES
        end = begin if flags & _REMOTE else begin + min(size, width)
        keys.append(pack(arbitration_id, flags & _SHAPE, size) + data[begin:end])
        begin += width
    return keys
