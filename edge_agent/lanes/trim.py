"""What becomes of the oldest packets on disk when there are too many: gaps, as few as may be."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from can_stream.lanes.held import joined_span
from can_stream.protocol.packets import Gap, GapReason, encode_gap
from edge_agent.lanes.disk_backlog import SpoolRow, gap_of
from edge_agent.lanes.disk_part import DiskPart


class Trim(Struct, frozen=True):
    """`lost` packets are replaced by the gaps in `puts`, which are written over rows of the same number or
    new; `merged` go, for others stand for them too."""

    lost: list[SpoolRow] = field(default_factory=list)
    puts: list[SpoolRow] = field(default_factory=list)
    merged: list[SpoolRow] = field(default_factory=list)


def trim(part: DiskPart, rows: Sequence[SpoolRow]) -> Trim:
    """All of `rows` as gaps: neighbours on disk, oldest first; what is sent from memory stays.

    Counts and times of what is merged are kept; other known losses between two packets go into one with them.
    """
    part.join_for_trim(list(rows))
    plan = Trim()
    changed: dict[int, SpoolRow] = {}
    previous: SpoolRow | None = None
    for row in rows:
        if part.is_in_memory(row) or row.is_record:
            previous = None
            continue
        kept = row
        if row.gap is None:
            plan.lost.append(row)
            kept = changed[row.row] = _with_gap(row, gap_of(row))
        if previous is not None and _may_merge(part, previous, kept):
            changed.pop(previous.row, None)
            plan.merged.append(previous)
            kept = changed[row.row] = _merged(previous, kept)
        previous = kept
    plan.puts.extend(changed.values())
    return plan


def _may_merge(part: DiskPart, before: SpoolRow, after: SpoolRow) -> bool:
    kinds = before.gap is not None and after.gap is not None
    return kinds and _is_counted(before) and _is_counted(after) and part.may_merge(before, after)


def _is_counted(row: SpoolRow) -> bool:
    return row.frames is not None and row.gap is not None and row.gap.reason is not GapReason.START


def _merged(before: SpoolRow, after: SpoolRow) -> SpoolRow:
    span_ns = joined_span(before.span_ns, after.span_ns)
    frames = (before.frames or 0) + (after.frames or 0)
    merged = replace(
        after,
        position=before.position,
        first_seq=before.first_seq,
        frames=frames,
        span_ns=span_ns,
        made_at_seconds=before.made_at_seconds,
        born_ns=min(before.born_ns, after.born_ns),
    )
    return _with_gap(merged, gap_of(merged))


def _with_gap(row: SpoolRow, gap: Gap) -> SpoolRow:
    return replace(row, gap=gap, packet=encode_gap(row.number, gap, row.position))
