"""The books of a dongle: of each start what is recorded, in gaps and in holes, and whether that adds up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct, json

from can_stream.protocol.control import ROWS_OF_LANE
from can_stream.protocol.packets import GapReason

_INDENT: Final = " " * 9


class HoleLine(Struct, frozen=True):
    """Frames that are known of and not here; seconds that the server has run since."""

    frames: int
    known_for_seconds: float
    listed_seconds_ago: float


class StartLine(Struct, frozen=True):
    """One start in one lane, in frames. `made` is null where it says no positions.

    `gaps`: by reason. `gaps_forgotten`: in gaps whose records retention has deleted. `unknown_gaps`: how many
    gaps nobody knows the size of. `told_*`: what agents have said of it.
    """

    lane: str
    start_id: str
    made: int | None
    recorded: int
    in_gaps: int
    gaps: dict[str, int]
    gaps_forgotten: int
    unknown_gaps: int
    in_holes: int
    holes: list[HoleLine]
    told_frames: int
    told_acknowledged: int


class LaneLine(Struct, frozen=True):
    """One lane: frames in the recording now, those deleted by retention, and those its starts say."""

    lane: str
    here: int
    deleted: int
    recorded: int


class Books(Struct, frozen=True):
    """All of a dongle, as far as is known.

    `differences`: what does not add up, as sentences; none where everything does. `unknown`: what these books
    cannot say, as sentences.
    """

    dongle_id: str
    starts: list[StartLine]
    lanes: list[LaneLine]
    differences: list[str]
    unknown: list[str] = []


def differences(starts: Sequence[StartLine], lanes: Sequence[LaneLine]) -> list[str]:
    """What does not add up, as sentences."""
    found = [text for one in starts for text in _of_start(one)]
    return found + [
        f"{one.lane}: {one.recorded} {ROWS_OF_LANE[one.lane]} were recorded, and {one.here} here + "
        f"{one.deleted} deleted are {one.here + one.deleted}"
        for one in lanes
        if one.here + one.deleted != one.recorded
    ]


def _of_start(start: StartLine) -> list[str]:
    name, rows = f"{start.lane}, start {start.start_id}", ROWS_OF_LANE[start.lane]
    out = []
    if start.in_holes or start.holes:
        out.append(
            f"{name}: {start.in_holes} {rows} are known of, and neither here nor given up; their agent may "
            "still send them, `stream-server holes close AGENT` gives them up"
        )
    if start.made is not None and start.recorded + start.in_gaps + start.in_holes != start.made:
        there = start.recorded + start.in_gaps + start.in_holes
        out.append(f"{name}: {start.made} {rows} were made, and {there} are accounted for")
    if start.told_acknowledged > start.recorded + start.gaps.get(GapReason.RESTORED.where, 0):
        out.append(
            f"{name}: {start.told_acknowledged} {rows} were acknowledged, and {start.recorded} recorded: "
            "this server went back to an older state, by a backup or a damaged recording"
        )
    if start.gaps_forgotten < 0:
        out.append(f"{name}: gaps say {-start.gaps_forgotten} {rows} more than are in gaps")
    return out


def as_json(found: Books) -> str:
    """For programs."""
    return json.format(json.encode(found)).decode()


def as_text(found: Books) -> str:
    """For people: a line for each start, what is in its gaps and holes below it, sums, the verdict."""
    lines = [_line("LANE", "START", "MADE", "RECORDED", "IN GAPS", "IN HOLES")]
    for one in found.starts:
        made = "-" if one.made is None else one.made
        lines.append(_line(one.lane, one.start_id, made, one.recorded, one.in_gaps, one.in_holes))
        lines += _below(one)
    for lane in found.lanes:
        mine = [one for one in found.starts if one.lane == lane.lane]
        in_gaps, in_holes = sum(one.in_gaps for one in mine), sum(one.in_holes for one in mine)
        total = lane.recorded + in_gaps + in_holes
        lines.append(_line(lane.lane, "all", total, lane.recorded, in_gaps, in_holes))
        lines.append(f"{_INDENT}of what was recorded {lane.here} are here, {lane.deleted} deleted")
    verdict = ["what is known adds up" if found.unknown else "everything adds up"]
    if found.differences:
        verdict = [f"{len(found.differences)} differences:", *found.differences]
    return "\n".join([*lines, *found.unknown, *verdict])


def _line(lane: str, start_id: str, *sums: int | str) -> str:
    return " ".join([f"{lane:8}", f"{start_id:16}", *(f"{one:>12}" for one in sums)])


def _below(start: StartLine) -> list[str]:
    lines = [f"{_INDENT}{where}: {frames}" for where, frames in start.gaps.items()]
    if start.gaps_forgotten > 0:
        lines.append(f"{_INDENT}in gaps whose records retention has deleted: {start.gaps_forgotten}")
    if start.unknown_gaps:
        lines.append(f"{_INDENT}gaps of unknown size: {start.unknown_gaps}")
    lines += [
        f"{_INDENT}hole of {one.frames}: known for {one.known_for_seconds / 3600:.1f} h, listed "
        f"{one.listed_seconds_ago / 3600:.1f} h ago, of hours that the server has run"
        for one in start.holes
    ]
    if start.told_frames:
        lines.append(
            f"{_INDENT}its agent said when it last greeted: {start.told_frames} made, "
            f"{start.told_acknowledged} acknowledged"
        )
    return lines
