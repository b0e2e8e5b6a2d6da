"""Which arbitration ids were seen on a bus before: columns in, what is new out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from can_stream.frames.batches import EXTENDED_ID_MASK, STANDARD_ID_MASK, FrameBatch, FrameFlag
from can_stream.protocol.control import MAX_DONGLES
from can_stream.protocol.identity import Identifier

MAX_IDS: Final = 4096
# Every dongle that this gateway ever had may be in the file.
MAX_BUSES: Final = 4 * MAX_DONGLES
MAX_FILE_BYTES: Final = 16 << 20
# An error frame has no id, and what we sent ourselves is no discovery.
_NO_ID: Final = np.uint8(FrameFlag.ERROR | FrameFlag.TX)
_EXTENDED: Final = np.uint8(FrameFlag.EXTENDED)

# (arbitration id, is extended)
BusId = tuple[int, bool]
Standard = Annotated[int, Meta(ge=0, le=STANDARD_ID_MASK)]
Extended = Annotated[int, Meta(ge=0, le=EXTENDED_ID_MASK)]


class BusIds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ids of one bus in the file."""

    standard: Annotated[list[Standard], Meta(max_length=MAX_IDS)]
    extended: Annotated[list[Extended], Meta(max_length=MAX_IDS)]


class SeenFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of one agent: its buses by dongle id."""

    buses: dict[Identifier, BusIds]


class SeenIds:
    """The ids of one bus. `MAX_IDS` at most: then `is_full`, and nothing is new any more."""

    def __init__(self, known: BusIds | None = None) -> None:
        self._standard = np.zeros(STANDARD_ID_MASK + 1, np.bool_)
        self._extended = np.zeros(0, np.uint32)
        self._count = 0
        if known is not None:
            self._add(known.standard, known.extended)

    @property
    def is_full(self) -> bool:
        """Whether further ids are not noted."""
        return self._count >= MAX_IDS

    def new_in(self, frames: FrameBatch) -> list[BusId]:
        """The ids in `frames` that were never seen before, each once; from now on they were."""
        if self.is_full or not len(frames):
            return []
        with_id = (frames.flags & _NO_ID) == 0
        wide = (frames.flags & _EXTENDED) != 0
        standard = frames.arbitration_id[with_id & ~wide]
        standard = standard[~self._standard[standard]]
        extended = frames.arbitration_id[with_id & wide]
        if len(extended):
            extended = extended[~self._is_known(extended)]
        return self._add(standard.tolist(), extended.tolist()) if len(standard) or len(extended) else []

    def to_file(self) -> BusIds:
        """What to keep over a restart."""
        return BusIds(np.flatnonzero(self._standard).tolist(), self._extended.tolist())

    def _is_known(self, extended: NDArray[np.uint32]) -> NDArray[np.bool_]:
        if not len(self._extended):
            return np.zeros(len(extended), np.bool_)
        at = np.searchsorted(self._extended, extended)
        known: NDArray[np.bool_] = self._extended[np.minimum(at, len(self._extended) - 1)] == extended
        return known

    def _add(self, standard: Iterable[int], extended: Iterable[int]) -> list[BusId]:
        # Sorted by Python: numpy's sort brings 1 MB of code into memory, and new ids are rare.
        standard = sorted(set(standard))[: MAX_IDS - self._count]
        extended = sorted(set(extended))[: MAX_IDS - self._count - len(standard)]
        self._standard[standard] = True
        if extended:
            self._extended = np.array(sorted({*self._extended.tolist(), *extended}), np.uint32)
        self._count = int(np.count_nonzero(self._standard)) + len(self._extended)
        return [(one, False) for one in standard] + [(one, True) for one in extended]


_decoder: Final = msgspec.json.Decoder(SeenFile)


def encode_seen(buses: Mapping[str, SeenIds], others: Mapping[str, BusIds]) -> bytes:
    """The file's content; `others` are buses that are not there now, as many of them as there is room for."""
    here = {name: seen.to_file() for name, seen in buses.items()}
    away: Iterable[tuple[str, BusIds]] = ((name, ids) for name, ids in others.items() if name not in here)
    room = max(0, MAX_BUSES - len(here))
    return msgspec.json.encode(SeenFile({**dict(list(away)[-room:] if room else []), **here}))


def decode_seen(content: bytes) -> dict[str, BusIds]:
    """The buses in a file's content. ValueError for what `encode_seen` cannot have made."""
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"more than {MAX_FILE_BYTES} bytes")
    try:
        buses = _decoder.decode(content).buses
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if len(buses) > MAX_BUSES:
        raise ValueError(f"more than {MAX_BUSES} buses")
    return buses
