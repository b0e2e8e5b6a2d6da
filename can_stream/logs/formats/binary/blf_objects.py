"""The objects of a BLF file, found in its bytes: where each begins, how large it is, of which kind.

An object begins with `LOBJ`, the size of its header (uint16), the header's version (uint16), its own size
and its type (both uint32), all little-endian; up to seven bytes of padding follow it, by writer and type. The
layout and the types are public through Vector's `binlog_objects.h` and the library Vector_BLF.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

SIGNATURE: Final = b"LOBJ"
BASE_BYTES: Final = 16
CONTAINER: Final = 10
MAX_PADDING: Final = 7
MAX_OBJECT_BYTES: Final = 8 * 1024 * 1024
# Behind the content, so that fields of an object that is too short can be fetched before that is seen.
MARGIN: Final = bytes(128)

_WORD: Final = int.from_bytes(SIGNATURE, "little")
_FIRST: Final = SIGNATURE[0]
_FEW: Final = 8

Places = NDArray[np.int64]


class Objects(Struct, frozen=True, eq=False):
    """N objects, whole, in file order: `at` and `size` int64[N], `header` and `kind` int64[N].

    `content`: the bytes that `at` counts in, with `MARGIN` behind them. `header`: the header's size.
    `step`: above 0 where all are of one kind and size, and each is so far from the one before.
    """

    content: bytes
    at: Places
    size: Places
    header: Places
    kind: Places
    step: int = 0

    def __len__(self) -> int:
        return len(self.at)

    def words(self, at: Places, count: int) -> NDArray[np.uint64]:
        """uint64[N, count]: what lies at each of `at`, little-endian, a field of the objects."""
        if self.step:
            return np.ndarray((len(at), count), "<u8", self.content, int(at[0]), (self.step, 8))
        return gathered(self.content, at, 8 * count).view("<u8").reshape(len(at), count)

    def of(self, index: Places) -> Objects:
        """Some of them."""
        return Objects(self.content, self.at[index], self.size[index], self.header[index], self.kind[index])


class Walk(Struct, frozen=True, eq=False):
    """What a walk over some content found: `objects`, and that it `used` the bytes before.

    `damage` says why it cannot go on there; `is_container`: a container begins there; else more is needed.
    """

    objects: Objects
    used: int
    damage: str | None = None
    is_container: bool = False


class _Headers(Struct, frozen=True, eq=False):
    """Whatever looks like the begin of an object, `at` ascending."""

    at: Places
    size: Places
    header: Places
    kind: Places
    is_followed: NDArray[np.bool_]


def gathered(content: bytes, at: Places, size: int) -> NDArray[np.void]:
    """The `size` bytes at each of `at`, one behind the other."""
    kind = np.dtype(f"V{size}")
    every: NDArray[np.void] = np.ndarray((len(content) - size + 1,), kind, content, 0, (1,))
    return every[at]


def walk(content: bytes, *, stop_at_containers: bool = False) -> Walk:
    """The objects from the begin of `content` on, each right behind the one before. `MARGIN` is its end."""
    if (objects := _even(content)) is not None:
        return Walk(objects, int(objects.at[-1] + objects.size[-1]))
    found, length = _headers(content), len(content) - len(MARGIN)
    runs: list[slice] = []
    breaks = np.flatnonzero(~found.is_followed | ((found.kind == CONTAINER) & stop_at_containers))
    used, index = 0, _next(found, 0)
    while index is not None:
        last = int(breaks[np.searchsorted(breaks, index)])
        begin, size = int(found.at[last]), int(found.size[last])
        damage = _damage(size, int(found.header[last]))
        is_container = stop_at_containers and int(found.kind[last]) == CONTAINER
        if damage or is_container or begin + size > length:
            runs.append(slice(index, last))
            return Walk(_chosen(content, found, runs), begin, None if is_container else damage, is_container)
        runs.append(slice(index, last + 1))
        used = begin + size
        index = _next(found, used)
    objects = _chosen(content, found, runs)
    return Walk(objects, used, _missing(content[used:length]))


def first_object(content: bytes) -> int | None:
    """Where an object begins that another one, or the end, follows. `MARGIN` is the end of `content`."""
    found, length = _headers(content), len(content) - len(MARGIN)
    end = found.at + found.size
    follower = np.append(found.at, length)[np.searchsorted(found.at, end)]
    is_followed = (end <= length) & (follower <= end + MAX_PADDING)
    sound = np.flatnonzero(is_followed & (found.size >= found.header) & (found.header >= BASE_BYTES))
    return int(found.at[sound[0]]) if len(sound) else None


def _even(content: bytes) -> Objects | None:
    """The objects of content that nearly always has one kind and size of them, without padding; else None."""
    begin, length = content.find(SIGNATURE, 0, MAX_PADDING + len(SIGNATURE)), len(content) - len(MARGIN)
    if begin < 0 or length - begin < BASE_BYTES:
        return None
    header = int.from_bytes(content[begin + 4 : begin + 6], "little")
    size = int.from_bytes(content[begin + 8 : begin + 12], "little")
    kind = int.from_bytes(content[begin + 12 : begin + BASE_BYTES], "little")
    count = (length - begin) // size if size >= max(header, BASE_BYTES) else 0
    end = begin + count * size
    left = content[end : min(end + BASE_BYTES, length)]
    if count < _FEW or header < BASE_BYTES or kind == CONTAINER or not content.startswith(left, begin):
        return None
    for word in (0, 8):
        every = np.ndarray((count,), "<u8", content, begin + word, (size,))
        if (every != every[0]).any():
            return None
    sizes, headers, kinds = (np.broadcast_to(np.int64(number), count) for number in (size, header, kind))
    return Objects(content, np.arange(begin, end, size), sizes, headers, kinds, size)


def _headers(content: bytes) -> _Headers:
    letters = np.frombuffer(content, np.uint8)[: max(len(content) - len(MARGIN) - BASE_BYTES + 1, 0)]
    at = np.flatnonzero(letters == _FIRST)
    words = gathered(content, at, BASE_BYTES).view("<u4").reshape(len(at), 4)
    begins = words[:, 0] == _WORD
    at, words = at[begins], words[begins].astype(np.int64)
    header, size, kind = words[:, 1] & 0xFFFF, words[:, 2], words[:, 3]
    is_followed = np.zeros(len(at), np.bool_)
    gap = at[1:] - (at + size)[:-1]
    is_followed[:-1] = (gap >= 0) & (gap <= MAX_PADDING) & (header >= BASE_BYTES)[:-1] & (size >= header)[:-1]
    return _Headers(at, size, header, kind, is_followed)


def _next(found: _Headers, end: int) -> int | None:
    """The index of the object that follows what ends at `end`."""
    index = int(np.searchsorted(found.at, end))
    return index if index < len(found.at) and found.at[index] <= end + MAX_PADDING else None


def _damage(size: int, header: int) -> str | None:
    if header < BASE_BYTES or size < header:
        return f"an object of {size} bytes is smaller than its header"
    if size > MAX_OBJECT_BYTES:
        return f"an object of {size} bytes is larger than any has"
    return None


def _missing(rest: bytes) -> str | None:
    """A reason where no object follows and none can."""
    seen = rest[: MAX_PADDING + len(SIGNATURE)]
    if len(seen) == MAX_PADDING + len(SIGNATURE) and SIGNATURE not in seen:
        return "no object begins where the next one should"
    return None


def _chosen(content: bytes, found: _Headers, runs: list[slice]) -> Objects:
    index: slice | Places = slice(0, 0)
    if len(runs) == 1:
        index = runs[0]
    elif runs:
        index = np.concatenate([np.arange(run.start, run.stop) for run in runs])
    return Objects(content, found.at[index], found.size[index], found.header[index], found.kind[index])


KINDS: Final = {
    3: "overload frames",
    4: "bus statistics",
    **dict.fromkeys((6, 7, 8, 9), "environment variables"),
    10: "containers in containers",
    **dict.fromkeys((*range(11, 22), 42, 43, 54, *range(57, 65), 75, 87, 88, 89, 105), "LIN events"),
    **dict.fromkeys((*range(22, 26), *range(32, 40), *range(67, 71), *range(76, 86), 95), "MOST events"),
    **dict.fromkeys((29, 30, 40, 41, 45, 47, 48, 49, 50, 66), "FlexRay events"),
    **dict.fromkeys((31, 74), "driver errors"),
    44: "driver synchronisations",
    5: "triggers",
    46: "GPS events",
    51: "clock records",
    **dict.fromkeys((55, 56), "J1708 messages"),
    65: "app texts",
    **dict.fromkeys((71, 120, 121), "Ethernet frames"),
    **dict.fromkeys((102, 103, 114, 122, 123), "Ethernet events"),
    72: "system variables",
    90: "serial events",
    91: "overruns of the recorder",
    92: "comments",
    **dict.fromkeys((93, 94), "WLAN events"),
    96: "markers",
    **dict.fromkeys((97, 98, 106, 107, 109), "AFDX events"),
    99: "K-line events",
    **dict.fromkeys(range(110, 114), "A429 events"),
    115: "restore points",
    118: "test structures",
    119: "diagnostic interpretations",
    124: "function bus events",
    **dict.fromkeys((125, 126), "data losses of the recorder"),
    127: "water marks",
    128: "trigger conditions",
}
RESTORE_POINT: Final = 115


def kind_name(kind: int) -> str:
    """What objects of a type that is no CAN frame are called, in the plural."""
    return KINDS.get(kind, f"objects of type {kind}")
