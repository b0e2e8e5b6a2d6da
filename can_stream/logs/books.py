"""The books of a log: all that it was found to hold, and what its times are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Final

from msgspec import Struct

# No tool that writes a date was there before; times that count from the beginning of a drive lie below.
FIRST_DATED_NS: Final = int(datetime(1980, 1, 1, tzinfo=UTC).timestamp()) * 10**9
_SHOWN_KINDS: Final = 8
_ITEMS: Final = {"blf": "object", "mf4": "record", "pcap": "block"}


class LogBooks(Struct, frozen=True):
    """What one log holds: `frames` + `unreadable` + the sum of `others` == `items`; see `ParsedBlock`.

    `first_ns` is the time of its first frame as the log has it.
    """

    path: PurePath
    format: str
    items: int
    frames: int
    others: Mapping[str, int]
    unreadable: int
    first_ns: int | None = None
    has_timestamps: bool = True
    is_local: bool = False
    is_cut: bool = False
    has_open_end: bool = False

    @property
    def has_date(self) -> bool:
        """False where its times count from a beginning that it does not name; an empty log has one."""
        return self.first_ns is None or has_date(self.first_ns)

    def __str__(self) -> str:
        parts = [_counted(self.frames, "frame")]
        if others := sum(self.others.values()):
            parts.append(f"{_counted(others, 'other')} ({self._kinds()})")
        if self.unreadable:
            parts.append(f"{self.unreadable:,} unreadable")
        items = _counted(self.items, _ITEMS.get(self.format, "line"))
        open_end = "; its last line has no end, and may be cut" if self.has_open_end else ""
        cut = "; the log is not whole" if self.is_cut else open_end
        return f"{self.path}: {items}: {', '.join(parts)}{cut}"

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "log": str(self.path),
            "format": self.format,
            "items": self.items,
            "frames": self.frames,
            "others": dict(self.others),
            "unreadable": self.unreadable,
            "is_cut": self.is_cut,
            "has_open_end": self.has_open_end,
        }

    def _kinds(self) -> str:
        kinds = sorted(self.others.items(), key=lambda kind: -kind[1])
        shown = [f"{kind}: {count:,}" for kind, count in kinds[:_SHOWN_KINDS]]
        more = len(kinds) - len(shown)
        return ", ".join(shown) + (f", and {more} kinds more" if more else "")


def has_date(first_ns: int) -> bool:
    """Whether a log whose first frame has this time says when it was recorded."""
    return first_ns >= FIRST_DATED_NS


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
