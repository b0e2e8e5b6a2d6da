"""A gap as it is told: in `gap` events and in the recording. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from can_stream.protocol.packets import GapReason
from can_stream.text.timestamps import format_timestamp


class GapNews(NamedTuple):
    """A gap as it is from now on. `gap_id` None: it was recorded before gaps had ids.

    `frames` are left of it (None: unknown), `found_frames` were just recorded; `is_new`: it was not there.
    """

    gap_id: int | None
    reason: GapReason
    frames: int | None
    first_ns: int | None
    last_ns: int | None
    found_frames: int = 0
    is_new: bool = True


def gap_members(gap: GapNews) -> dict[str, Any]:
    """What is said of a gap; of one that has shrunk because frames of it were found, how many these are."""
    members: dict[str, Any] = {
        "gap_id": gap.gap_id,
        "from": None if gap.first_ns is None else format_timestamp(gap.first_ns // 1000),
        "to": None if gap.last_ns is None else format_timestamp(gap.last_ns // 1000),
        "frames": gap.frames,
        "where": "found" if gap.found_frames else gap.reason.where,
    }
    return members | {"found": gap.found_frames} if gap.found_frames else members
