"""What becomes of the oldest packets on disk when there are too many: gaps, as few as may be."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from can_stream.protocol.packets import Gap, GapReason, encode_gap
from edge_agent.lanes.disk_backlog import SpoolRow
from edge_agent.lanes.lane_on_disk import LaneOnDisk, gap_of


class Trim(Struct, frozen=True):
    """`lost` packets are replaced by the gaps in `puts`, which are written over rows of the same number or
    new; `merged` go, for others stand for them too."""

    lost: list[SpoolRow] = field(default_factory=list)
    puts: list[SpoolRow] = field(default_factory=list)
    merged: list[SpoolRow] = field(default_factory=list)


def trim(lane: LaneOnDisk, rows: Sequence[SpoolRow]) -> Trim:
    """All of `rows` as gaps: neighbours on disk, oldest first; what is sent from memory stays.

    Counts and times of what is merged are kept; other known losses between two packets go into one with them.
    """
    lane.join_for_trim(list(rows))
    plan = Trim()
    changed: dict[int, SpoolRow] = {}
    previous: SpoolRow | None = None
    for row in rows:
        if lane.is_in_memory(row) or row.is_clock:
            previous = None
            continue
        kept = row
        if row.gap is None:
            plan.lost.append(row)
            kept = changed[row.row] = _with_gap(row, gap_of(row))
        if previous is not None and _may_merge(lane, previous, kept):
            changed.pop(previous.row, None)
            plan.merged.append(previous)
            kept = changed[row.row] = _merged(previous, kept)
        previous = kept
    plan.puts.extend(changed.values())
    return plan


def _may_merge(lane: LaneOnDisk, before: SpoolRow, after: SpoolRow) -> bool:
    kinds = before.gap is not None and after.gap is not None
    return kinds and _is_counted(before) and _is_counted(after) and lane.may_merge(before, after)


def _is_counted(row: SpoolRow) -> bool:
    return row.frames is not None and row.gap is not None and row.gap.reason is not GapReason.START


def _merged(before: SpoolRow, after: SpoolRow) -> SpoolRow:
    spans = [span for span in (before.span_ns, after.span_ns) if span is not None]
    span_ns = (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None
    frames = (before.frames or 0) + (after.frames or 0)
    merged = replace(
        after,
        first_seq=before.first_seq,
        frames=frames,
        span_ns=span_ns,
        made_at_seconds=before.made_at_seconds,
    )
    return _with_gap(merged, gap_of(merged))


def _with_gap(row: SpoolRow, gap: Gap) -> SpoolRow:
    return replace(row, gap=gap, packet=encode_gap(row.number, gap))
