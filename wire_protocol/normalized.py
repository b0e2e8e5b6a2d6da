"""Raw frames as normalized `can_frame` JSON (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from wire_protocol.batches import FrameBatch, FrameFlag
from wire_protocol.timestamps import format_seconds


class FrameRow(NamedTuple):
    """One frame taken out of its batch: `flags` as in `FrameFlag`, `dlc` the length code."""

    timestamp_ns: int
    arbitration_id: int
    flags: int
    dlc: int
    data: bytes


@dataclass(frozen=True, slots=True)
class FrameOrigin:
    """Where frames come from: a dongle (None where there is none, as for a printed log) and its bus."""

    dongle_id: str | None
    bus: str
    dongle_json: str = field(init=False, compare=False, repr=False)
    bus_json: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        named = (
            "" if self.dongle_id is None else f'"dongle_id":{msgspec.json.encode(self.dongle_id).decode()},'
        )
        object.__setattr__(self, "dongle_json", named)
        object.__setattr__(self, "bus_json", msgspec.json.encode(self.bus).decode())


def rows_of(batch: FrameBatch) -> Iterator[FrameRow]:
    """Every frame of `batch` in its order."""
    width = batch.width
    packed = batch.data.tobytes()
    for start, timestamp_ns, arbitration_id, flags, dlc, size in zip(
        range(0, len(packed), width),
        batch.timestamp_ns.tolist(),
        batch.arbitration_id.tolist(),
        batch.flags.tolist(),
        batch.dlc().tolist(),
        batch.data_length().tolist(),
        strict=True,
    ):
        yield FrameRow(timestamp_ns, arbitration_id, flags, dlc, packed[start : start + size])


_OPTIONAL: Final = (
    (FrameFlag.FD, ',"is_fd":true'),
    (FrameFlag.BRS, ',"brs":true'),
    (FrameFlag.ESI, ',"esi":true'),
    (FrameFlag.REMOTE, ',"is_remote":true'),
    (FrameFlag.ERROR, ',"is_error":true'),
)


def can_frame_json(row: FrameRow, origin: FrameOrigin, count: int | None) -> bytes:
    """The `can_frame` object of one frame, in one line; `count` None leaves that member out."""
    timestamp_ns, arbitration_id, flags, dlc, data = row
    seconds, nanoseconds = divmod(timestamp_ns, 1_000_000_000)
    head, tail = _fixed_parts(origin, arbitration_id, flags)
    members = f'{head}"dlc":{dlc},"data_hex":"{data.hex(" ").upper()}"{tail}'
    counted = "" if count is None else f',"count":{count}'
    return (
        f'{{"type":"can_frame","ts":"{_date(seconds)}.{nanoseconds // 1000:06d}Z",{members}{counted}}}'
    ).encode()


_date: Final = lru_cache(maxsize=64)(format_seconds)


@lru_cache(maxsize=8192)
def _fixed_parts(origin: FrameOrigin, arbitration_id: int, flags: int) -> tuple[str, str]:
    """What all frames of one id share: the members before `dlc`, and those after `data_hex`."""
    extended = bool(flags & FrameFlag.EXTENDED)
    head = (
        f'{origin.dongle_json}"direction":"{"tx" if flags & FrameFlag.TX else "rx"}",'
        f'"bus":{origin.bus_json},"id":"0x{arbitration_id:0{8 if extended else 3}X}",'
        f'"is_extended":{"true" if extended else "false"},'
    )
    return head, "".join(text for flag, text in _OPTIONAL if flags & flag)
