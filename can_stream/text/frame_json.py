"""Raw frames as normalized `can_frame` JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch, FrameFlag, id_text
from can_stream.frames.slots import slots_of
from can_stream.text.pieces import Pieces, Places, Pool, Spans, Texts
from can_stream.text.repeats import keys_but_data
from can_stream.text.timestamps import format_seconds


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


@dataclass(frozen=True, slots=True, eq=False)
class Origins:
    """Where the frames of one batch come from: `each[number]` for `number` uint16[N]."""

    each: Sequence[FrameOrigin]
    number: NDArray[np.uint16]


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


# Plain numbers: with members of an enumeration `&` takes ten times as long.
_EXTENDED, _TX = int(FrameFlag.EXTENDED), int(FrameFlag.TX)
_OPTIONAL: Final = (
    (int(FrameFlag.FD), ',"is_fd":true'),
    (int(FrameFlag.BRS), ',"brs":true'),
    (int(FrameFlag.ESI), ',"esi":true'),
    (int(FrameFlag.REMOTE), ',"is_remote":true'),
    (int(FrameFlag.ERROR), ',"is_error":true'),
)


# Of a frame whose time a clock gave that nobody kept right.
UNSYNCHRONISED_MEMBER: Final = b',"clock_synchronised":false'


def can_frame_json(row: FrameRow, origin: FrameOrigin, count: int | None, members: bytes = b"") -> bytes:
    """The `can_frame` object of one frame, in one line; `count` None leaves that member out.

    `members`: what a database adds, each with a comma before it.
    """
    timestamp_ns, arbitration_id, flags, dlc, data = row
    seconds, nanoseconds = divmod(timestamp_ns, 1_000_000_000)
    head, tail = _fixed_parts(origin, arbitration_id, flags)
    raw_frame = f'{head}"dlc":{dlc},"data_hex":"{data.hex(" ").upper()}"{tail}'
    text = f'{{"type":"can_frame","ts":"{_date(seconds)}.{nanoseconds // 1000:06d}Z",{raw_frame}'
    counted = b"}" if count is None else b',"count":%d}' % count
    return text.encode() + members + counted


_date: Final = lru_cache(maxsize=64)(format_seconds)


@lru_cache(maxsize=8192)
def _fixed_parts(origin: FrameOrigin, arbitration_id: int, flags: int) -> tuple[str, str]:
    """What all frames of one id share: the members before `dlc`, and those after `data_hex`."""
    extended = bool(flags & _EXTENDED)
    head = (
        f'{origin.dongle_json}"direction":"{"tx" if flags & _TX else "rx"}",'
        f'"bus":{origin.bus_json},"id":"{id_text(arbitration_id, extended=extended)}",'
        f'"is_extended":{"true" if extended else "false"},'
    )
    return head, "".join(text for flag, text in _OPTIONAL if flags & flag)


_BEGINNING: Final = b'{"type":"can_frame","ts":"0000-00-00T00:00:00.000000Z",'
_TIME: Final = slice(_BEGINNING.index(b"0"), _BEGINNING.index(b"Z") + 1)
_TIME_BYTES: Final = _TIME.stop - _TIME.start
_THREE_DIGITS: Final = np.array([b"%03d" % number for number in range(1000)]).view("V3")
_QUOTE: Final = ord('"')


def beginnings(timestamp_ns: NDArray[np.int64]) -> NDArray[np.uint8]:
    """uint8[N, K]: the beginning of `can_frame_json` for frames of these times."""
    text = np.tile(np.frombuffer(_BEGINNING, np.uint8), (len(timestamp_ns), 1))
    text[:, _TIME] = time_texts(timestamp_ns)
    return text


def time_column(pool: Pool, timestamp_ns: NDArray[np.int64]) -> Pieces:
    """`beginnings`, a line each."""
    rows, size = np.arange(len(timestamp_ns)), len(_BEGINNING)
    text = beginnings(timestamp_ns)
    return Pieces(rows, Spans(pool.add_text(text.ravel().data) + rows * size, np.full(len(rows), size)))


def frame_columns(pool: Pool, batch: FrameBatch, origin: FrameOrigin | Origins) -> list[Pieces]:
    """What follows in `can_frame_json` of every frame, without what comes from `members` on."""
    rows = np.arange(len(batch))
    if isinstance(origin, FrameOrigin):
        origin = Origins((origin,), np.zeros(len(batch), np.uint16))
    heads, tails, kind = _texts_by_kind(batch, origin)
    head = pool.add_all(Texts(heads)).of(kind)
    columns = [Pieces(rows, head), Pieces(rows, _hex_spans(pool, batch))]
    if any(tails):
        columns.append(Pieces(rows, pool.add_all(Texts(tails)).of(kind)))
    return columns


def time_texts(timestamp_ns: NDArray[np.int64]) -> NDArray[np.uint8]:
    """uint8[N, 27]: each time as in `format_timestamp`."""
    seconds, nanoseconds = np.divmod(timestamp_ns, 1_000_000_000)
    begins = np.flatnonzero(np.diff(seconds, prepend=seconds[:1] - 1))
    dates = b"".join(b"%b.000000Z" % _date(second).encode() for second in seconds[begins].tolist())
    runs = np.diff(begins, append=len(seconds))
    text = np.frombuffer(dates, np.uint8).reshape(-1, _TIME_BYTES).repeat(runs, axis=0)
    thousands, units = np.divmod(nanoseconds // 1000, 1000)
    text[:, 20:23] = _THREE_DIGITS.take(thousands).view(np.uint8).reshape(-1, 3)
    text[:, 23:26] = _THREE_DIGITS.take(units).view(np.uint8).reshape(-1, 3)
    return text


def _texts_by_kind(batch: FrameBatch, origins: Origins) -> tuple[list[bytes], list[bytes], Places]:
    """Texts before and behind the data for each kind of frame, and the kind of each frame."""
    slots = slots_of(keys_but_data(batch, origins.number))
    heads, tails = [], []
    first = slots.first
    some, number = batch[first], origins.number[first].tolist()
    for at, dlc in enumerate(some.dlc().tolist()):
        origin = origins.each[number[at]]
        head, tail = _fixed_parts(origin, int(some.arbitration_id[at]), int(some.flags[at]))
        heads.append(f'{head}"dlc":{dlc},"data_hex":"'.encode())
        tails.append(tail.encode())
    return heads, tails, slots.numbers()


def _hex_spans(pool: Pool, batch: FrameBatch) -> Spans:
    """The data of each frame with the quote behind it."""
    text = np.frombuffer(bytearray(batch.data.tobytes().hex(" ").upper() + " ", "ascii"), np.uint8)
    begin = np.arange(len(batch)) * 3 * batch.width
    size = np.maximum(3 * batch.data_length().astype(np.intp) - 1, 0)
    text[begin + size] = _QUOTE
    return Spans(pool.add_text(text.tobytes()) + begin, size + 1)
