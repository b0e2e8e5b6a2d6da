"""A packet as it is in the spool's tables `packets` and `bodies`, and back; `store` writes and deletes."""

from __future__ import annotations

import zlib
from types import NoneType
from typing import Any, Final

from msgspec.structs import replace

from can_stream.protocol.errors import PacketError
from can_stream.protocol.packet_head import (
    MAX_PACKET_BYTES,
    MAX_SEQ,
    PacketHead,
    PacketNumber,
    head_of,
)
from can_stream.protocol.packets import Gap, GapReason, encode_gap
from edge_agent.lanes.disk_backlog import SpoolRow, gap_of
from edge_agent.spool.changes import Moment
from edge_agent.spool.lookup import Start

Columns = tuple[Any, ...]
COLUMNS: Final = (
    "p.id, p.lane, p.start, p.first_seq, p.seq, p.frames, p.gap, p.first_ns, p.last_ns, p.made_ms,"
    " p.position, p.carried, p.born_ms"
)
"""Of `packets p`, in the order of the table."""
CARRIED: Final = 11
"""Which of them says the activation."""
_NUMBERS: Final = frozenset({int, NoneType})


def columns_of(row: SpoolRow, lane: int, start: int, carried: int | None = None) -> Columns:
    """What `packets` holds of it, under the numbers that stand for its lane, start and activation."""
    span_ns = row.span_ns or (None, None)
    reason = None if row.gap is None else int(row.gap.reason)
    made_ms = int(row.made_at_seconds * 1000)
    numbers = (row.first_seq, row.number.seq, row.frames, reason)
    born_ms = row.born_ns // 1_000_000 or None
    return (row.row, lane, start, *numbers, *span_ns, made_ms, row.position, carried, born_ms)


def row_of(columns: Columns, start: Start, now: Moment, activation: str = "") -> SpoolRow:
    """The packet without its body. Raises ValueError for what is none."""
    number, _, _, first_seq, seq, frames, reason, first_ns, last_ns, made_ms, position, _, born_ms = columns
    if not set(map(type, columns)) <= _NUMBERS:
        raise ValueError(f"packet {number} is not made of numbers")
    if not 1 <= first_seq <= seq <= MAX_SEQ or not _are_counts(frames, position, born_ms):
        raise ValueError(f"packet {number} has numbers {first_seq} to {seq}")
    age_seconds = start.age_seconds(made_ms, now)
    gap = None if reason is None else Gap(GapReason(reason), first_seq, frames, first_ns, last_ns)
    span_ns = None if first_ns is None or last_ns is None else (first_ns, last_ns)
    place = PacketNumber(start.start_id, seq)
    made_at_seconds = made_ms / 1000
    born_ns = (born_ms or 0) * 1_000_000 if start.is_of_boot(now.boot_id) else 0
    row = SpoolRow(
        number, place, position, first_seq, frames, gap, span_ns, made_at_seconds, b"", age_seconds
    )
    return replace(row, activation=activation, born_ns=born_ns)


def body_of(row: SpoolRow) -> bytes:
    """What `bodies` holds of it."""
    return zlib.compress(row.packet, 3)


def with_body(row: SpoolRow, body: bytes) -> SpoolRow:
    """The whole packet. A body that cannot be read is lost, and nothing else."""
    inflater = zlib.decompressobj()
    try:
        packet = inflater.decompress(body, MAX_PACKET_BYTES)
        is_right = inflater.eof and _is_of(head_of(packet), row)
    except (zlib.error, PacketError):
        is_right = False
    if is_right:
        return replace(row, packet=packet)
    gap = row.gap or gap_of(row)
    return replace(row, gap=gap, packet=encode_gap(row.number, gap, row.position))


def _is_of(head: PacketHead, row: SpoolRow) -> bool:
    return head.number == row.number and head.position == row.position


def _are_counts(*numbers: int | None) -> bool:
    return all(0 <= (number or 0) <= MAX_SEQ for number in numbers)
